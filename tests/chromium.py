"""Chromium without a window, in which tests of pages read them.

Where it, its driver or selenium is missing, the tests of a module with `pytestmark = NEEDS_CHROMIUM` are skipped.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install 'gen_models[dev]'")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
NEEDS_CHROMIUM = pytest.mark.skipif(not CHROMIUM or not DRIVER, reason="needs Chromium and its driver, chromedriver")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage"
)


@contextlib.contextmanager
def chromium(profile: Path, *logs: str) -> Iterator[Any]:
    """The driver of a browser with a profile of its own, which keeps these logs beside that of the page."""
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", dict.fromkeys(("browser", *logs), "ALL"))
    for flag in (*FLAGS.split(), f"--user-data-dir={profile}"):
        options.add_argument(flag)
    with webdriver.Chrome(options, webdriver.ChromeService(DRIVER)) as driver:
        yield driver


def assert_light_and_dark_follow_the_reader(browser: Any) -> None:
    """The page that is open is dark on light or light on dark, as its reader's system is."""
    colours = {}
    for scheme in ("light", "dark"):
        browser.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        )
        read = "const s = getComputedStyle(document.body); return [s.color, s.backgroundColor]"
        colours[scheme] = [sum(map(int, c.strip("rgb()").split(","))) for c in browser.execute_script(read)]
    assert colours["light"][0] < 200 < 600 < colours["light"][1]
    assert colours["dark"][1] < 200 < 600 < colours["dark"][0]
