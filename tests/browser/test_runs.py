"""Pages of runs, and the feed."""

from __future__ import annotations

import xml.etree.ElementTree as ET

ATOM = {"a": "http://www.w3.org/2005/Atom"}


def test_a_run_is_a_page_that_the_front_page_leads_to(watched, site):
    """D9: what changed, what is not as documented, which builds."""
    page = watched.open(site.pages["matrix"])
    page.locator(".history a", has_text="20260303-1200").click()
    assert page.locator("h1").inner_text() == "Run 20260303-1200"
    assert "free of it" in page.locator("#changed + .plain li").first.inner_text()
    assert "before: not known (blocked)" in page.locator("#changed + .plain li").first.inner_text()
    assert page.locator("#builds ~ .wide tbody tr").count() == 5
    page.locator("a", has_text="The run after").click()
    assert page.locator("h1").inner_text() == "Run 20260302-1200"


def test_the_feed_tells_what_changed_and_leads_there(site):
    feed = ET.parse(site.out / "feed.xml").getroot()
    assert feed.find("a:updated", ATOM).text
    entries = feed.findall("a:entry", ATOM)
    ids = [entry.find("a:id", ATOM).text for entry in entries]
    assert len(ids) == len(set(ids)) > 0
    changed = [
        one for one in entries if "Before: not known (blocked)" in one.find("a:summary", ATOM).text
    ]
    (title,) = [one.find("a:title", ATOM).text for one in changed]
    assert title.startswith("Incus 6.0.4-2+deb13u10: free of it (clear): One instance that cannot start")
    for entry in entries:
        target = entry.find("a:link", ATOM).get("href")
        assert (site.out / target).is_file() or "%" in target, target


def test_pages_say_in_their_head_what_they_are(watched, site):
    """A link that is pasted elsewhere tells its verdict."""
    page = watched.open(site.pages["cell"])
    title = page.locator('meta[property="og:title"]').get_attribute("content")
    assert (
        title
        == "LXD 5.0.2: has the bug (reproduced): Downgrade inside an LTS channel breaks the cluster"
    )
    page = watched.open(site.pages["build"])
    assert (
        page.locator('meta[property="og:title"]')
        .get_attribute("content")
        .startswith("LXD 5.0.2: may it ship?")
    )
    assert page.locator('link[rel="alternate"]').get_attribute("href") == "../feed.xml"
