"""Debian's headless Chromium, with all that the page logs and asks for."""

import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--window-size=1500,1000",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (program and driver):
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    options = Options()
    options.binary_location = program
    for argument in (*QUIET, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


def open_page(browser: webdriver.Chrome, address: str) -> None:
    """Open a page; what was logged before it is forgotten."""
    browser.get("about:blank")
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(address)


def console_of(browser: webdriver.Chrome) -> list[str]:
    """What the page wrote to the console since it was opened."""
    return [entry["message"] for entry in browser.get_log("browser")]


def asked_for(browser: webdriver.Chrome) -> set[str]:
    """The addresses the page asked for since it was opened, data: addresses by their kind alone."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    return {url.partition(",")[0].partition(";")[0] if url.startswith("data:") else url for url in sent}


def picture(browser: webdriver.Chrome, name: str, height: int) -> None:
    """Keep a picture of the page's upper part where TRACEPIPE_PICTURES says, such as docs/."""
    if os.environ.get("TRACEPIPE_PICTURES"):
        browser.set_window_size(1500, height)
        time.sleep(2)
        browser.save_screenshot(str(Path(os.environ["TRACEPIPE_PICTURES"]) / f"{name}.png"))
