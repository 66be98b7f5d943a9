"""The source of an issue's scenarios, coloured for a page."""

from __future__ import annotations

import ast
from functools import cache
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


def story_of(scenario: str, issue: Issue | None) -> str:
    """Return in a sentence what the test ``scenario`` (pytest's id) does: its docstring's first line.

    Empty where it has none, or where its module cannot be read.
    """
    path, _, name = scenario.partition("::")
    name = name.rpartition("::")[2]
    for module in issue.scenarios if issue else ():
        if module.name == Path(path).name:
            return _first_lines(module).get(name, "")
    return ""


@cache
def _first_lines(module: Path) -> dict[str, str]:
    try:
        tree = ast.parse(module.read_text(encoding="utf-8"))
    except (OSError, SyntaxError, ValueError):
        return {}
    told = ((one.name, ast.get_docstring(one)) for one in ast.walk(tree) if isinstance(one, ast.FunctionDef))
    return {
        name: " ".join(plain(text).partition("\n\n")[0].replace("``", "").split()) for name, text in told if text
    }


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
