"""A build hook: where it is asked to, compile the modules that every request passes through, by mypyc, into the wheel.

    PROVIDERRANK_COMPILE=1 pip install .

The sources stay beside what is compiled and mean the same; Python imports the compiled module first. Without the
variable nothing happens here. Where there is no C compiler, or no Python headers, the wheel is the plain one, and one
sentence says why. ADR 18 says what is compiled and why.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

ASKED = "PROVIDERRANK_COMPILE"
GROUP = "providerrank"
"""Names the one library that the compiled modules share, ``providerrank__mypyc``."""


def find_lack() -> str | None:
    """What is missing to compile here; None: nothing."""
    if sys.implementation.name != "cpython":
        return "only CPython runs compiled modules"
    compiler = shlex.split(os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")[0]
    if shutil.which(compiler) is None:
        return f"there is no C compiler ({compiler})"
    if not (Path(sysconfig.get_path("include")) / "Python.h").is_file():
        return "Python's headers (Python.h) are not installed"
    return None


def compile_modules(root: Path, modules: list[str], folder: Path) -> dict[str, str]:
    """Compile ``modules`` (paths below ``root/src``) in ``folder``; returns each library's path and its place."""
    from mypyc.build import mypycify
    from setuptools import Distribution

    before = Path.cwd()
    os.chdir(root)  # mypy finds its settings and the packages from here
    try:
        paths = [str(Path("src", module)) for module in modules]
        # What is not compiled is only read for its types: `make check` judges it.
        extensions = mypycify(
            ["--follow-imports=silent", *paths], opt_level="3", target_dir=str(folder / "c"), group_name=GROUP
        )
        command = Distribution({"name": GROUP, "ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib, command.build_temp = str(folder / "lib"), str(folder / "temp")
        command.ensure_finalized()
        command.run()
    finally:
        os.chdir(before)
    lib = folder / "lib"
    return {str(path): str(path.relative_to(lib)) for path in sorted(lib.rglob("*")) if path.is_file()}


class CompileHook(BuildHookInterface[Any]):
    """See the module."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What building needs beside hatchling: the types of what the compiled modules import are part of it."""
        return list(self.config["compile-dependencies"]) if os.environ.get(ASKED) else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and put what comes of it into the wheel."""
        if not os.environ.get(ASKED) or version == "editable":
            return
        lack = find_lack()
        if lack is not None:
            self.app.display_warning(f"Nothing was compiled, and the wheel is the plain one: {lack}.")
            return
        self._folder = Path(tempfile.mkdtemp(prefix="providerrank-compile-"))
        built = compile_modules(Path(self.root), list(self.config["modules"]), self._folder)
        build_data["force_include"].update(built)
        build_data["pure_python"], build_data["infer_tag"] = False, True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """The wheel is written: what it was made from can go."""
        del version, build_data, artifact_path
        folder = getattr(self, "_folder", None)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
