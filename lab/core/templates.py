"""Templates of YAML files: a missing value is an error, and each template quotes its values."""

from __future__ import annotations

import shlex
from pathlib import Path

import jinja2


def templates(folder: Path) -> jinja2.Environment:
    """Return the templates in ``folder``; the filter ``quote`` quotes a value for the shell."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder),
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML, not HTML; values are quoted by tojson and quote
        keep_trailing_newline=True,
    )
    environment.filters["quote"] = lambda value: shlex.quote(str(value))
    return environment
