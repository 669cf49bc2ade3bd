"""The report as a person opens it: from disk, without a network, with hostile text in it."""

from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser.conftest import asked_for, console_of, open_page
from tests.conftest import TARGETS
from tests.tracepipe.report.test_report import hostile
from tracepipe.home import Home
from tracepipe.registry import find_target
from tracepipe.report.material import Material, material_of
from tracepipe.report.write import write_report
from tracepipe.study import Study


@pytest.fixture
def material(finished: Home, tiny_study: Study) -> Material:
    target, _ = find_target(TARGETS, "miniature")
    return material_of(tiny_study, target, (finished.store("tiny"), finished.withheld("tiny")))


def test_the_report_shows_table_plots_and_reader_without_error_or_request(finished: Home, browser: webdriver.Chrome):
    page = (finished.reports("tiny", "miniature") / "report.html").as_uri()
    open_page(browser, page)
    rows = browser.find_elements(By.CSS_SELECTOR, "#accuracy ~ .wide table tbody tr")
    assert "inverted_summary" in browser.find_element(By.TAG_NAME, "table").text
    assert len(rows) > 14
    pictures = browser.find_elements(By.TAG_NAME, "img")
    assert [picture.get_attribute("naturalWidth") for picture in pictures].count("0") == 0
    assert len(pictures) == 4
    reader = browser.find_element(By.CSS_SELECTOR, "details[open] .reader")
    assert {"PROMPT", "INVERTED TRACE", "REAL TRACE"} <= {
        title.text.upper() for title in reader.find_elements(By.TAG_NAME, "h4")
    }
    assert reader.find_elements(By.TAG_NAME, "mark")
    closed = browser.find_element(By.CSS_SELECTOR, "details:not([open])")
    closed.find_element(By.TAG_NAME, "summary").click()
    assert closed.find_element(By.CSS_SELECTOR, ".text").is_displayed()
    assert console_of(browser) == []
    assert asked_for(browser) <= {page, "data:image/svg+xml"}


def test_the_data_behind_a_plot_can_be_downloaded(finished: Home, browser: webdriver.Chrome):
    open_page(browser, (finished.reports("tiny", "miniature") / "report.html").as_uri())
    link = browser.find_element(By.CSS_SELECTOR, "a[download='accuracy.csv']")
    read = "const done = arguments[1]; done(atob(arguments[0].href.split(',')[1]))"
    assert browser.execute_async_script(read, link).startswith("benchmark,condition,accuracy,low,high")


def test_planted_markup_and_a_line_of_a_megabyte_stay_inert(
    material: Material, browser: webdriver.Chrome, tmp_path: Path
):
    write_report(hostile(material), tmp_path)
    page = (tmp_path / "report.html").as_uri()
    open_page(browser, page)
    assert browser.title == "TracePipe: tiny / miniature"
    assert browser.find_elements(By.TAG_NAME, "script") == []
    assert browser.find_elements(By.CSS_SELECTOR, "img:not([src^='data:'])") == []
    assert browser.find_elements(By.CSS_SELECTOR, "a[href^='javascript']") == []
    wider = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(wider) <= 0
    assert "more characters are not shown" in browser.find_element(By.CSS_SELECTOR, "details[open]").text
    assert console_of(browser) == []
    assert asked_for(browser) <= {page, "data:image/svg+xml"}
