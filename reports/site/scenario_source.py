"""The source of an issue's scenarios, coloured for a page."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from markupsafe import Markup
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.sanitize import plain

_LINES = 400


class Source(NamedTuple):
    """A test module: ``path`` from its checkout's root; ``more`` says that the end is left out."""

    path: str
    html: Markup
    more: bool


def sources_of(issue: Issue) -> list[Source]:
    """Return the source of each test module of ``issue`` that can be read and is not empty."""
    return [source for module in issue.scenarios if (source := _source(module))]


def _source(module: Path) -> Source | None:
    try:
        lines = plain(module.read_text(encoding="utf-8", errors="replace")).splitlines()
    except OSError:
        return None
    if not lines:
        return None
    html = highlight("\n".join(lines[:_LINES]), PythonLexer(), HtmlFormatter(cssclass="python"))
    return Source(
        path="/".join(module.parts[-3:]),
        html=Markup(html),  # noqa: S704 (Pygments escapes what it colours)
        more=len(lines) > _LINES,
    )
