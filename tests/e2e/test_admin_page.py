"""The page in a real browser: it draws, it keeps itself current, and its own policy blocks nothing it needs."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from providerrank.apps.admin.app import build_admin
from providerrank.apps.admin.gate import Gate
from providerrank.apps.admin.server import AdminServer
from tests.fake_admin import World, make_finished, make_stats

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")


async def browse(url: str, profile: Path, *options: str, patience_ms: int = 7000) -> tuple[str, str]:
    """Open a page, let its scripts run for a while, and return the document as it then is, and the browser's log."""
    assert CHROMIUM is not None
    browser = await asyncio.create_subprocess_exec(
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--enable-logging=stderr",
        f"--user-data-dir={profile}",
        f"--virtual-time-budget={patience_ms}",
        "--window-size=1360,1000",
        *options,
        url,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, log = await asyncio.wait_for(browser.communicate(), 90)
    return output.decode(), "\n".join(line for line in log.decode().splitlines() if "CONSOLE" in line)


async def test_the_page_in_a_browser(tmp_path: Path) -> None:
    world = World(stats=make_stats())
    server = AdminServer(build_admin(world.get_sources(), Gate("127.0.0.1")), "127.0.0.1", 0)
    await server.start()
    url = f"http://127.0.0.1:{server.address[1]}/"
    try:
        document, console = await browse(url, tmp_path / "profile", "--dump-dom")
        assert console == "", "the browser complains of nothing"
        assert "<h1>" in document
        assert document.count("<tbody>") == 2
        # The script ran: it says so, and it shows the button that only a script can serve.
        assert re.search(r'<span id="age"[^>]*>Live<', document)
        assert re.search(r'<button id="pause"[^>]*aria-pressed="false">', document)
        picture = tmp_path / "page.png"
        await browse(url, tmp_path / "profile", f"--screenshot={picture}", patience_ms=1000)
        assert picture.stat().st_size > 20_000, "something was drawn"
    finally:
        await server.stop()


async def test_a_request_explained_in_a_browser(tmp_path: Path) -> None:
    world = World(stats=make_stats())
    assert world.ring is not None
    world.ring.keep(make_finished("req-7"))
    server = AdminServer(build_admin(world.get_sources(), Gate("127.0.0.1")), "127.0.0.1", 0)
    await server.start()
    url = f"http://127.0.0.1:{server.address[1]}/explain/req-7"
    try:
        document, console = await browse(url, tmp_path / "profile", "--dump-dom", patience_ms=1000)
        assert console == ""
        assert "Request req-7" in document
        picture = tmp_path / "explained.png"
        await browse(url, tmp_path / "profile", f"--screenshot={picture}", patience_ms=1000)
        assert picture.stat().st_size > 20_000
    finally:
        await server.stop()


async def test_the_page_keeps_itself_current(tmp_path: Path) -> None:
    world = World(stats=make_stats())
    app = build_admin(world.get_sources(), Gate("127.0.0.1"))
    asked: list[str] = []

    async def counting(scope, receive, send) -> None:  # type: ignore[no-untyped-def]  # ASGI in the middle
        asked.append(scope["path"])
        if scope["path"] == "/page/live":
            world.stats.requests["chat", "2xx"] = 777_777
            world.now_us += 2_000_000
        await app(scope, receive, send)

    server = AdminServer(counting, "127.0.0.1", 0)
    await server.start()
    try:
        document, _ = await browse(f"http://127.0.0.1:{server.address[1]}/", tmp_path / "profile", "--dump-dom")
    finally:
        await server.stop()
    assert asked.count("/page/live") >= 1
    assert "777,781" in document
