"""60 issues on 30 builds: what is seen of them, how soon, and that it stays where it is."""

from __future__ import annotations

import pytest

from tests.browser.samples import NOW, overflow, violations
from tests.large import ISSUES, builds, large_site

# Of the cells that are wholly in the window, beneath the head and beside the titles.
SEEN = """() => {
    const grid = document.getElementById("matrix").getBoundingClientRect();
    const head = document.querySelector(".matrix thead").getBoundingClientRect();
    const title = document.querySelector("tr.issue th").getBoundingClientRect();
    const within = (box) => box.top >= head.bottom - 1 && box.bottom <= Math.min(innerHeight, grid.bottom)
        && box.left >= title.right - 1 && box.right <= Math.min(innerWidth, grid.right);
    const cells = [...document.querySelectorAll("tr.issue .on-build")].map((one) => one.getBoundingClientRect());
    return {cells: cells.filter(within).length, first: cells[0].top, head: head.top, title: title.left};
}"""


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    return large_site(tmp_path_factory.mktemp("large"), NOW)


@pytest.fixture
def page(watched, large):
    return watched.open(large["matrix"], height=800)


def test_the_matrix_is_on_the_first_screen(page):
    """D1: the first cell above y = 400, five rows at least without scrolling."""
    seen = page.evaluate(SEEN)
    assert seen["first"] < 400
    assert seen["cells"] >= 5 * len(builds())


def test_once_scrolled_six_hundred_cells_are_seen_with_head_and_titles(page):
    page.locator("#matrix").evaluate("(one) => one.scrollIntoView()")
    page.locator("#matrix").evaluate("(one) => one.scrollTo(0, 300)")
    seen = page.evaluate(SEEN)
    assert seen["cells"] >= 600
    assert seen["head"] >= 0
    assert seen["title"] >= 0
    assert page.locator("th.build").last.bounding_box()["x"] < 1280
    assert "6.0.0" in page.locator("th.build a").first.inner_text()


def test_nothing_is_wider_than_the_window(watched, large):
    for width in (360, 1280, 1920):
        page = watched.open(large["matrix"], width=width)
        assert overflow(page) <= 0
    page = watched.open(large["matrix"], width=1280)
    assert page.locator("#matrix").evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0


def test_filters_answer_at_once(page):
    """The handler's own time, the shortest of ten: what else the computer does only adds to it."""
    spent = page.evaluate(
        """() => ["daemon", "", "5.0", "", "member", "", "pool", "", "daemon", "listener"].map((word) => {
            const text = document.getElementById("text");
            const begin = performance.now();
            text.value = word;
            text.dispatchEvent(new Event("input", {bubbles: true}));
            return performance.now() - begin;
        })"""
    )
    assert 0 < page.locator("tr.issue:visible").count() < ISSUES
    assert min(spent) < 100


def test_it_is_accessible(page):
    assert violations(page) == []


def test_equal_neighbours_are_one_line_on_the_page_of_an_issue(watched, large):
    page = watched.open(large["issue"])
    folds = page.locator("details.fold > summary")
    assert folds.count() > 0
    assert "in all 6" in folds.first.inner_text()
    assert page.locator(".onbuild:visible").count() < len(builds())


def test_on_a_phone_it_is_a_list_of_one_build(watched, large):
    page = watched.open(large["matrix"], width=360, height=800)
    assert page.locator("tr.issue .on-build:visible").count() == ISSUES
    assert page.evaluate("document.documentElement.scrollHeight") < 9000
