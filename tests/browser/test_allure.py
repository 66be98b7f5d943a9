"""Allure's report as it is in the site: made by the real Allure, which npm has to be able to fetch once."""

from __future__ import annotations

import pytest

from clusterproof.reports.exports.allure_report import TOOLS, AllureMissingError, make_report
from clusterproof.reports.exports.allure_results import address
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.urls import cell_page
from tests.browser.samples import NOW
from tests.samples import LXD_502, sample_ledger, sample_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A site that is nothing but Allure's report and the page that it leads to; and a cell of it."""
    folder = tmp_path_factory.mktemp("allure")
    ledger = sample_ledger(folder)
    run = sample_run(ledger, "20260303-1200", NOW)
    with History(folder / "history.sqlite") as history:
        history.record(run)
        try:
            report = make_report(folder / "site", history, {}, ledger, TOOLS)
        except AllureMissingError as error:
            pytest.skip(str(error))
    cell = next(one for one in run if one.build is LXD_502)
    page = folder / "site" / cell_page(cell.key)
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html><title>the page of the result</title>")
    return report, cell


@pytest.fixture
def page(browser, made):
    """A result in the report, where the site leads to; with all answers that it gets."""
    report, cell = made
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.answered = []
    page.on("response", lambda response: page.answered.append(response.url))
    page.goto(f"{report.page.as_uri()}#{address(cell.key).partition('#')[2]}")
    page.get_by_text("lxd-15313: one extension less [LXD 5.0.2-5+deb12u6]").first.wait_for()
    yield page
    context.close()


def test_a_test_names_its_build_and_leads_to_the_site_s_page(page, made):
    _, cell = made
    link = page.get_by_role("link", name="this result in the matrix")
    link.hover()
    assert link.get_attribute("href") == f"../{cell_page(cell.key)}"
    with page.context.expect_page() as opened:
        link.click()
    assert opened.value.title() == "the page of the result"


def test_the_program_waits_for_the_data_that_stand_behind_it(made):
    report, _ = made
    text = report.page.read_text("utf-8")
    assert text.index("allureReportData = {}") < text.index('src="data:text/javascript') < text.rindex("<script")


def test_links_are_relative_for_the_keyboard_too(page):
    link = page.get_by_role("link", name="all of lxd-15313")
    link.focus()
    assert link.get_attribute("href") == "../issues/lxd-15313.html"


def test_the_report_gets_nothing_from_other_hosts(page):
    assert [url for url in page.answered if url.startswith("http")] == []
    refused = page.evaluate(
        """() => new Promise((done) => {
          document.addEventListener("securitypolicyviolation", (event) => done(event.blockedURI));
          fetch("https://example.org/").catch(() => {});
        })"""
    )
    assert refused.startswith("https://example.org")
