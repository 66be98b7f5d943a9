"""What a link says is what its page says."""

from __future__ import annotations

import pytest

PAGES = ("matrix", "build", "compare", "issue", "run")
LINKS = """() => [...document.querySelectorAll("main a.cell, main a.on-build")]
    .filter((one) => one.querySelector(".words"))
    .map((one) => [one.href, one.querySelector(".words").textContent.trim().replace(/\\s+/g, " ")])"""


@pytest.mark.parametrize("name", PAGES)
def test_every_verdict_that_leads_somewhere_leads_to_the_same_verdict(watched, site, name):
    """B1: the label of every link to a result is the ruling of its page."""
    page = watched.open(site.pages[name])
    links = {
        tuple(link) for link in page.evaluate(LINKS) if "/cells/" in link[0] and "evil" not in link[0]
    }
    assert len(links) > 3
    for address, label in sorted(links):
        page.goto(address)
        ruling = page.locator(".ruling .pill .words").text_content()
        assert " ".join(ruling.split()) == label, address
