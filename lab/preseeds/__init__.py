"""Preseeds: what the lab host and the products are given, as YAML templates beside this file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
import yaml

_TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent),
    undefined=jinja2.StrictUndefined,
    autoescape=False,  # noqa: S701 - YAML and no page; values are quoted by tojson
    keep_trailing_newline=True,
)


def render(name: str, /, **values: object) -> str:
    """Return the YAML text of preseed ``name`` with ``values`` filled in.

    Raises jinja2.UndefinedError for a value that is missing.
    """
    return _TEMPLATES.get_template(f"{name}.yaml").render(**values)


def document(name: str, /, **values: object) -> dict[str, Any]:
    """Return preseed ``name`` as data."""
    data: dict[str, Any] = yaml.safe_load(render(name, **values))
    return data
