"""The Dagster UI of a finished study, one of whose gates fails: graph, plot of cost, failed check with its rows."""

import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from tests.browser.conftest import picture
from tests.conftest import TARGETS, tiny_study_content, write_study
from tracepipe.definitions import run_study
from tracepipe.home import CHECKOUT, Home
from tracepipe.study import load_study

GROUPS = [
    "1_prompts",
    "2_surrogate",
    "3_inverter",
    "4_target",
    "5_withheld",
    "6_inversion",
    "7_students",
    "8_benchmarks",
    "9_report",
]
SECONDS = 60


@pytest.fixture(scope="module")
def ui(finished: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The webserver on a copy of the finished home, in which the style of summaries was then found too different."""
    folder = tmp_path_factory.mktemp("ui")
    shutil.copytree(finished.root, folder / "home")
    path = write_study(folder, tiny_study_content() | {"summary_style": {"factor": 1.0001, "points": 25}})
    home = Home(folder / "home")
    outcome = run_study(load_study(path), home, TARGETS, "miniature", None)
    assert [(failure.asset, failure.kind) for failure in outcome.failures] == [("summary_style", "gate")]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = {"DAGSTER_HOME": home.dagster("tiny"), "TRACEPIPE_HOME": home.root, "TRACEPIPE_STUDY": path}
    program = str(Path(sys.executable).with_name("dagster-webserver"))
    with (folder / "log").open("wb") as log:
        command = [program, "-w", str(CHECKOUT / "workspace.yaml"), "-h", "127.0.0.1", "-p", str(port)]
        environment = os.environ | {name: str(value) for name, value in variables.items()}
        server = subprocess.Popen(command, cwd=CHECKOUT, env=environment, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        WebDriverWait(server, SECONDS, ignored_exceptions=[OSError]).until(lambda _: answers(f"{address}/server_info"))
        yield address
    finally:
        server.terminate()
        server.wait(30)


def answers(address: str) -> bool:
    with urllib.request.urlopen(address) as response:
        return bool(response.status == 200)


def text_with(browser: webdriver.Chrome, *wanted: str) -> str:
    """Wait until the page shows all of these, and return its text."""

    def shown(_: object) -> str | None:
        text = browser.find_element(By.TAG_NAME, "body").text
        return text if all(one in text for one in wanted) else None

    return WebDriverWait(browser, SECONDS).until(shown, f"the page does not show: {wanted}")


def test_the_graph_has_its_groups_in_the_order_of_the_pipeline(ui: str, browser: webdriver.Chrome):
    browser.get(f"{ui}/asset-groups")
    text = text_with(browser, *GROUPS)
    sidebar = [line for line in text.splitlines() if line in GROUPS]
    assert sidebar[: len(GROUPS)] == GROUPS
    picture(browser, "dagster-graph", 1100)


def test_an_asset_says_which_prompts_model_code_and_how_much(ui: str, browser: webdriver.Chrome):
    browser.get(f"{ui}/assets/inverted_traces/summary?view=overview")
    text = text_with(browser, "Traces the inverter writes from what the target shows", "request_key", "ran on")
    for shown in ("configuration", "temperature", "cost USD", "commit", "checkpoint c_", "preview", "seconds"):
        assert shown in text
    picture(browser, "dagster-asset", 1700)


def test_the_cost_of_a_target_is_plotted(ui: str, browser: webdriver.Chrome):
    browser.get(f"{ui}/assets/target_outputs?view=overview")
    text_with(browser, "Plots")
    browser.find_element(By.XPATH, "//button[normalize-space()='Plots']").click()
    text_with(browser, "cost USD")
    assert WebDriverWait(browser, SECONDS).until(lambda _: browser.find_elements(By.TAG_NAME, "canvas"))
    browser.execute_script("arguments[0].scrollIntoView()", browser.find_element(By.TAG_NAME, "canvas"))
    picture(browser, "dagster-plot", 1000)


def test_a_failed_check_names_what_fails(ui: str, browser: webdriver.Chrome):
    browser.get(f"{ui}/assets/summary_style?view=checks")
    text = text_with(browser, "written_like_the_targets", "failing_rows", "compression")
    assert "Failed" in text
    picture(browser, "dagster-check", 900)
