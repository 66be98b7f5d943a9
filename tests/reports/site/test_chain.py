"""Hostile content through the whole chain, from a member to the site: safe, small, and without secrets."""

from __future__ import annotations

import re

from clusterproof.reports.site.published_evidence import HEAD, TAIL
from tests.chain import hostile_site, leaks
from tests.pages import TAGS, check_links, load

pytest_plugins = ["pytester"]


def test_hostile_content_is_safe_and_small_and_has_no_secrets(pytester, monkeypatch, tmp_path):
    with hostile_site(pytester, monkeypatch, tmp_path, size=3_000_000) as out:
        found = leaks(out)
        assert not found, "\n".join(found)
        pages = [*out.rglob("*.html")]
        ours = [path for path in pages if not {"evidence", "runs"} & {*path.parts}]
        assert len(ours) > 10
        assert not [path for path in (out / "site/runs").glob("*/**/*") if path.suffix in (".html", ".svg")]
        for path in ours:
            page = load(path)
            assert {tag for tag, _ in page.tags} <= TAGS
            assert len(page.all("script")) <= 2
            assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
            assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page.text)
            assert path.stat().st_size < 200_000
        assert check_links(out / "site") > 50
        for path in (out / "site/runs").rglob("*"):
            if path.is_file():
                assert path.stat().st_size <= HEAD + TAIL + 1000
                path.read_text(encoding="utf-8")
