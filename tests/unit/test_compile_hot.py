"""The build hook that compiles what every request passes through (ADR 18)."""

from __future__ import annotations

import ast
import importlib.util
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]["hooks"][
    "custom"
]
COMPILED = [SRC / name for name in CONFIG["modules"]]


class App:
    """What hatchling shows on a terminal."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def display_warning(self, message: str) -> None:
        self.warnings.append(message)


def make_hook(app: App) -> Any:
    spec = importlib.util.spec_from_file_location("compile_hot", ROOT / CONFIG["path"])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.CompileHook(str(ROOT), CONFIG, None, None, str(ROOT / "dist"), "wheel", app)


def make_build_data() -> dict[str, Any]:
    return {"force_include": {}, "pure_python": True, "infer_tag": False}


def list_classes(path: Path) -> list[ast.ClassDef]:
    return [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ClassDef)]


def list_bases(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in node.bases}


def test_who_does_not_ask_gets_the_plain_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROVIDERRANK_COMPILE", raising=False)
    app, data = App(), make_build_data()
    hook = make_hook(app)
    hook.initialize("standard", data)
    assert hook.dependencies() == []
    assert data == make_build_data()
    assert app.warnings == []


def test_who_asks_needs_mypyc_and_what_builds_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERRANK_COMPILE", "1")
    names = {need.replace(">=", "==").partition("==")[0] for need in make_hook(App()).dependencies()}
    assert {"mypy", "setuptools"} <= names


def test_without_a_compiler_the_wheel_is_plain_and_one_sentence_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERRANK_COMPILE", "1")
    monkeypatch.setenv("CC", "no-such-compiler -pthread")
    app, data = App(), make_build_data()
    make_hook(app).initialize("standard", data)
    assert data == make_build_data()
    assert app.warnings == [
        "Nothing was compiled, and the wheel is the plain one: there is no C compiler (no-such-compiler)."
    ]


def test_without_headers_likewise(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PROVIDERRANK_COMPILE", "1")
    monkeypatch.setenv("CC", "sh")
    monkeypatch.setattr("sysconfig.get_path", lambda name: str(tmp_path))
    app, data = App(), make_build_data()
    make_hook(app).initialize("standard", data)
    assert data == make_build_data()
    assert app.warnings == [
        "Nothing was compiled, and the wheel is the plain one: Python's headers (Python.h) are not installed."
    ]


def test_an_editable_install_stays_on_the_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROVIDERRANK_COMPILE", "1")
    app, data = App(), make_build_data()
    make_hook(app).initialize("editable", data)
    assert data == make_build_data()
    assert app.warnings == []


@pytest.mark.parametrize("path", COMPILED, ids=lambda path: path.stem)
def test_no_struct_is_made_in_a_compiled_module(path: Path) -> None:
    assert not [node.name for node in list_classes(path) if "Struct" in list_bases(node)]


def test_what_inherits_from_a_compiled_class_is_compiled_too() -> None:
    """Python refuses it otherwise, when the module is imported."""
    compiled = {
        node.name
        for path in COMPILED
        for node in list_classes(path)
        if "Protocol" not in list_bases(node) and not list_bases(node) & {"Exception", "ValueError", "Enum"}
    }
    for path in SRC.rglob("*.py"):
        if path in COMPILED:
            continue
        tree = ast.parse(path.read_text())
        imported = {
            name.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module is not None
            for name in node.names
            if SRC / (node.module.replace(".", "/") + ".py") in COMPILED
        }
        wrong = [node.name for node in list_classes(path) if list_bases(node) & imported & compiled]
        assert wrong == [], path
