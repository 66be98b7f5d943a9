"""Every page in a real browser: nothing is wrong, wide, unreadable or asked of another host."""

from __future__ import annotations

import functools
import http.server
import threading
from datetime import timedelta
from urllib.parse import unquote

import pytest

from tests.browser.samples import NOW, overflow, violations

PAGES = (
    "matrix", "compare", "issue", "build", "cell", "earlier", "failed", "lookup", "words", "run", "hostile",
    "hostile issue",
)  # fmt: skip


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_accessible_and_fits(watched, site, name, scheme):
    page = watched.open(site.pages[name], scheme=scheme)
    for width in (360, 700, 1280, 1920):
        page.set_viewport_size({"width": width, "height": 900})
        assert overflow(page) <= 0, width
    assert violations(page) == []
    page.set_viewport_size({"width": 360, "height": 800})
    assert violations(page) == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_reads_without_scripts(watched, site, name):
    page = watched.open(site.pages[name], scripts=False)
    assert page.locator("h1").inner_text()
    assert page.locator("main").inner_text()
    assert not page.locator("#filters").is_visible()


@pytest.mark.parametrize("width", [360, 390, 700, 1280])
def test_every_entry_of_the_navigation_is_in_the_window(watched, site, width):
    page = watched.open(site.pages["compare"], width=width)
    for entry in page.locator("nav.top a").all():
        box = entry.bounding_box()
        assert 0 <= box["x"] < box["x"] + box["width"] <= width


def test_opened_details_fit_and_are_accessible(watched, site):
    for name in ("cell", "hostile"):
        page = watched.open(site.pages[name], width=360)
        page.evaluate("for (const one of document.querySelectorAll('details')) one.open = true")
        assert overflow(page) <= 0
        assert violations(page) == []


def test_hostile_content_does_nothing(watched, site):
    """Scripts in logs, reasons and names would show as dialogues, errors or requests."""
    for path in sorted(site.out.rglob("*.html")):
        if "evil" in str(path) or path.parent == site.out:
            page = watched.open(path)
            assert page.locator("body > script").count() <= 2
            assert page.locator("img, iframe, object, embed, main script").count() == 0


def test_evidence_is_shown_as_text(watched, site):
    page = watched.open(site.pages["hostile"])
    link = page.locator("a", has_text="page.html.txt")
    link.click()
    page.wait_for_load_state()
    assert page.url.endswith("page.html.txt")
    assert page.locator("script").count() == 0
    assert "<script>alert(document.domain)</script>" in page.locator("body").inner_text()


def test_the_way_from_the_matrix_to_the_evidence_and_back(watched, site):
    page = watched.open(site.pages["matrix"])
    row = page.locator("tr", has_text="Downgrade inside an LTS")
    row.locator("a.on-build", has_text="has the bug").first.click()
    assert page.locator("h1").inner_text() == "Downgrade inside an LTS channel breaks the cluster"
    page.locator("a", has_text="daemon.log").click()
    assert page.url.endswith("/m1/daemon.log")
    page.go_back()
    page.locator("nav.top a", has_text="Matrix").click()
    assert unquote(page.url).endswith("out/site/index.html")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


def test_on_a_web_server_it_is_the_same(watched, site):
    handler = functools.partial(Quiet, directory=site.out)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = watched.open(f"http://127.0.0.1:{server.server_port}/")
        page.locator("a.on-build", has_text="has the bug").first.click()
        page.locator("nav.top a", has_text="Compare").click()
        assert page.locator("#rows tr").count() > 0
        server.shutdown()


def test_the_timeline_is_filtered_by_member(watched, site):
    page = watched.open(site.pages["cell"])
    steps = page.locator(".steps > li:visible")
    assert steps.count() == 5
    page.locator("label", has_text="m2").click()
    assert [one.split()[0] for one in steps.locator(".did").all_inner_texts()] == [
        "api",
        "fault",
        "check",
    ]
    page.locator("label", has_text="marked").click()
    assert steps.count() == 2
    page.locator("label", has_text="everything").click()
    page.locator("summary", has_text="GET /1.0/cluster").click()
    assert '"a": [' in page.locator("details[open] .text").first.inner_text()


def test_the_command_can_be_copied(watched, site):
    page = watched.open(site.pages["cell"])
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("button", has_text="Copy").first.click()
    page.locator("button", has_text="Copied").wait_for()
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == (
        'clusterproof qualify "suites/upgrade/test_downgrade.py::test_one_extension_less[lxd@5.0.2]"'
    )


FOCUSED = """() => {
    const one = document.activeElement;
    // A choice hides its box; the label around it shows the focus.
    const ring = one.closest(".filter label") ?? one;
    return [one.tagName, one.outerHTML.slice(0, 300), getComputedStyle(ring).outlineStyle];
}"""
TO_REACH = """() => [...document.querySelectorAll("a, input, select, button, summary")]
    .filter((one) => one.checkVisibility()).map((one) => one.outerHTML.slice(0, 300))"""


@pytest.mark.parametrize("name", ["matrix", "compare", "issue", "cell"])
def test_the_keyboard_reaches_everything_and_shows_where_it_is(watched, site, name):
    page = watched.open(site.pages[name])
    wanted = set(page.evaluate(TO_REACH))
    reached = set()
    for _ in range(3 * len(wanted)):
        page.keyboard.press("Tab")
        tag, html, outline = page.evaluate(FOCUSED)
        if tag == "BODY":
            break
        assert outline != "none", html
        reached.add(html)
    # Of several choices that exclude each other one is reached, and arrows lead to the others.
    assert {one for one in wanted if 'type="radio"' not in one} <= reached


def test_the_content_is_one_step_away(watched, site):
    page = watched.open(site.pages["matrix"])
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('main') !== null")


def test_results_grow_stale_while_the_page_lies_there(watched, site):
    counts = []
    for days in (0, 13, 14, 60):
        page = watched.open(site.pages["matrix"], now=NOW + timedelta(days=days))
        counts.append(page.locator(".on-build.stale").count())
    assert counts[0] == 1  # what ran three weeks ago
    assert counts[0] < counts[2] <= counts[3]
    assert page.locator(".flags .age").first.text_content() == "80 days ago"


def test_on_paper_the_matrix_is_a_table_and_what_is_wrong_keeps_its_colour(watched, site):
    """Printers leave backgrounds out, which would leave white on white of the worst verdicts."""
    page = watched.open(site.pages["matrix"], width=718)
    page.emulate_media(media="print")
    head = page.locator(".matrix thead")
    assert head.evaluate("(one) => getComputedStyle(one).display") == "table-header-group"
    assert not page.locator("#filters").is_visible()
    for pill in page.locator(".pill.failed, .pill.discovered, .pill.blocked").all():
        assert pill.evaluate("(one) => getComputedStyle(one).printColorAdjust") == "exact"


def test_with_forced_colours_a_choice_and_the_current_page_are_seen(watched, site):
    page = watched.open(site.pages["matrix"])
    page.emulate_media(forced_colors="active")
    entry, current = page.locator("nav.top a", has_text="Words"), page.locator("nav.top a[aria-current]")
    border = "(one) => getComputedStyle(one).borderBottomWidth"
    assert (entry.evaluate(border), current.evaluate(border)) == ("0px", "2px")
    label = page.locator("#filters label", has_text="Incus").first
    background = "(one) => getComputedStyle(one).backgroundColor"
    before = label.evaluate(background)
    label.click()
    assert label.evaluate(background) != before
