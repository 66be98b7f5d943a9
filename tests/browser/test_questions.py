"""What three readers come for, from the front page, in at most two clicks each."""

from __future__ import annotations

import pytest


class Walk:
    """A page, and how many clicks were made in it."""

    def __init__(self, page) -> None:
        self.page = page
        self.clicks = 0

    def click(self, selector: str, text: str | None = None) -> None:
        self.clicks += 1
        self.page.locator(selector, has_text=text).first.click()

    def seen(self, selector: str) -> str:
        """Return the text of what is wholly in the window."""
        found = self.page.locator(selector).first
        box = found.bounding_box()
        assert box, selector
        assert 0 <= box["y"] < box["y"] + box["height"] <= 900, (selector, box)
        return " ".join(found.inner_text().split())


@pytest.fixture
def walk(watched, site):
    made = Walk(watched.open(site.pages["matrix"]))
    yield made
    assert made.clicks <= 2


def test_may_this_build_ship(walk):
    walk.click("th.build a", "7.5.1")
    assert walk.seen(".ship .says") == "✗ No"
    assert walk.seen(".ship .sums li").endswith("not as documented")


def test_what_changed_since_last_night(walk):
    assert "Changed since the run before 1" in walk.seen("#changed > summary")
    walk.click(".history a", "20260303-1200")
    assert walk.seen("#changed + .plain li").startswith("+ free of it")


@pytest.mark.parametrize(
    ("pasted", "said"),
    [
        ("5.0.2-5+deb12u6", "This build was tested"),
        ("5.0.1", "This version was not tested"),
        ("incus 6.0.1", "not tested"),
    ],
)
def test_is_it_in_the_version_of_the_customer(walk, pasted, said):
    walk.click("nav a", "Look up a version")
    assert walk.page.evaluate("document.activeElement.id") == "version"
    walk.page.keyboard.insert_text(pasted)
    assert said in walk.seen("#said")
    assert walk.seen('.found li:has-text("Downgrade inside an LTS channel")').startswith("● has the bug")


def test_what_is_the_way_out(walk):
    walk.click("tr.issue th a", "Downgrade inside")
    assert "✓ verified on LXD 5.0.2" in walk.seen(".short")
    assert "Or upgrade to Incus 6.0.2" in walk.seen(".short")


def test_how_does_it_fail_and_how_is_it_seen_again(walk):
    row = 'tr.issue:has-text("Downgrade inside") td[data-id="lxd@5.0.2-5+deb12u6"] a'
    walk.click(row)
    assert walk.seen(".ruling").startswith("● has the bug")
    assert walk.seen("#symptom") == "The lines that show it"
    assert "version is behind" in walk.page.locator("#symptom + .lines li").first.inner_text()
    walk.click(".again summary", "Without clusterproof")
    assert walk.page.locator("#script").is_visible()
