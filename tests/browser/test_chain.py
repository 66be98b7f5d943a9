"""What 100 MB of hostile content in a member's log, and much else, come to in a browser."""

from __future__ import annotations

from tests.browser.samples import overflow
from tests.chain import hostile_site, leaks

pytest_plugins = ["pytester"]


def test_a_hostile_lab_harms_nobody_who_looks(pytester, monkeypatch, tmp_path, watched):
    with hostile_site(pytester, monkeypatch, tmp_path, size=100_000_000) as out:
        site = out / "site"
        assert leaks(site) == []
        assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 10_000_000
        for path in sorted(site.rglob("*.html")):
            page = watched.open(path, width=360, now=None)
            assert overflow(page) <= 0
            assert page.locator("main script, img, iframe, object, embed").count() == 0
