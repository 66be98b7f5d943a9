"""The feed: what changed and what is not as documented, for whoever wants to be told."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import NAMESPACE_URL, uuid5

from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import templates
from clusterproof.reports.site.run_page import News, Run

_ENTRIES = 100


def feed(material: Material, runs: Sequence[Run]) -> str:
    """Return the news of ``runs`` as Atom (RFC 4287); its addresses are relative to its own."""
    entries = [(_id(one, run), one, run) for run in runs for one in run.new]
    entries.sort(key=lambda entry: entry[1].result.started, reverse=True)
    updated = runs[0].summary.last if runs else material.made.made
    return (
        templates()
        .get_template("feed.xml")
        .render(entries=entries[:_ENTRIES], updated=updated, id=_urn("clusterproof"))
    )


def _id(news: News, run: Run) -> str:
    return _urn("\0".join([run.summary.id, *news.result.key, news.result.started.isoformat()]))


def _urn(name: str) -> str:
    return uuid5(NAMESPACE_URL, name).urn
