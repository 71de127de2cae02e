"""Chromium for tests: skipped without it, an error with KDTOOL_REQUIRE_CHROMIUM=1."""

import os
import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

if os.environ.get("KDTOOL_REQUIRE_CHROMIUM") != "1":
    pytest.importorskip("axe_playwright_python")

import axe_playwright_python
from playwright.sync_api import sync_playwright

AXE = Path(axe_playwright_python.__file__).with_name("axe.min.js").read_text(encoding="utf-8")
AXE_TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def running_chromium(*arguments):
    """Yield a browser of playwright, which is the system's Chromium."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None and os.environ.get("KDTOOL_REQUIRE_CHROMIUM") == "1":
        pytest.fail("KDTOOL_REQUIRE_CHROMIUM=1 is set, but Chromium is not installed")
    if path is None:
        pytest.skip("Chromium is not installed: apt install chromium")
    # The sandbox needs rights that a container lacks; the only pages opened are our own files.
    flags = ["--no-sandbox", "--disable-gpu", *arguments]
    with sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=path, args=flags)
        yield started
        started.close()


def violations(page, run_only):
    """What axe-core finds, a line each."""
    options = {"runOnly": run_only, "resultTypes": ["violations"], "preload": False}
    return [
        f"{one['id']}: {node['html'][:100]}: {node['failureSummary']}"
        for one in page.evaluate("options => axe.run(options)", options)["violations"]
        for node in one["nodes"]
    ]
