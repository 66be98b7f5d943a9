"""Templates that become YAML: a missing value is an error, and values are quoted by the templates."""

from __future__ import annotations

import shlex
from pathlib import Path

import jinja2


def templates(folder: Path) -> jinja2.Environment:
    """Return the templates in ``folder``; the filter ``quote`` makes a word of the shell of a value."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML and no page; values are quoted by tojson and quote
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    return environment
