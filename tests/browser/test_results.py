"""The page of a result: where it stays, where its symptom is, and how it is seen again."""

from __future__ import annotations


def test_a_permalink_shows_this_result_whatever_comes_later(watched, site):
    """B9: the newest result has an address of its own from the beginning."""
    page = watched.open(site.pages["cell"])
    page.locator("a.permalink").click()
    assert page.url.endswith("/20260303-1200.html")
    assert page.locator(".ruling .words").inner_text().startswith("has the bug")
    earlier = watched.open(site.pages["earlier"])
    assert (
        "An earlier result, of run 20260302-1200." in earlier.locator("[role=note]").first.inner_text()
    )
    earlier.locator("[role=note] a").first.click()
    assert earlier.url.endswith("/index.html")


def test_a_failure_says_where_the_documented_symptom_is(watched, site):
    """B8: the pattern is looked for in what was kept, and named with file and line."""
    page = watched.open(site.pages["failed"])
    assert "fails otherwise" in page.locator(".ruling").inner_text()
    note = page.locator(".notice", has_text="The documented pattern is in")
    assert "m1/journal.log:4" in note.inner_text()
    assert "this node's version is behind" in note.inner_text()
    note.locator("a", has_text="journal.log").click()
    assert page.locator("body").inner_text().splitlines()[3] == "this node's version is behind"


def test_a_failure_without_it_says_nothing_of_it(watched, site):
    page = watched.open(site.pages["matrix"])
    row = page.locator("tr.issue", has_text="lxd-15218")
    row.locator("a.on-build.failed").first.click()
    assert page.locator(".notice", has_text="documented pattern").count() == 0


def test_a_result_is_seen_again_in_three_ways(watched, site):
    """D6: clusterproof's command, the product's own commands, a report in Markdown."""
    page = watched.open(site.pages["cell"])
    command, script, report = (page.locator(f"#{one}") for one in ("command", "script", "report"))
    assert command.inner_text().startswith("clusterproof qualify")
    text = script.text_content()
    assert text.startswith("#!/bin/sh\n# lxd-15313 on lxd@5.0.2 (5.0.2-5+deb12u6)")
    assert "# on m1\nlxd init --preseed <<'END_OF_INPUT'\nconfig: {}\nEND_OF_INPUT\n" in text
    assert "# fault: kill" in text
    assert "# check: the member comes back: fails" in text
    assert "GET /1.0/cluster" not in text
    words = report.text_content()
    for said in (
        "## Version",
        "## Current behavior",
        "## Steps to reproduce",
        "m1# lxd init --preseed",
        "PERMALINK",
    ):
        assert said in words


def test_the_evidence_that_says_most_comes_first(watched, site):
    page = watched.open(site.pages["cell"])
    groups = [one.locator("li a").all_inner_texts() for one in page.locator(".files section").all()]
    assert groups[0][:2] == ["symptom.txt", "transcript.jsonl"]
    assert groups[1][:2] == ["journal.log", "daemon.log"]
