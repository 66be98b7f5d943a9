"""Preseeds of products and instances of the lab host, from the YAML templates in preseeds/."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from clusterproof.lab.core.templates import templates

FOLDER = Path(__file__).parents[1] / "preseeds"

_TEMPLATES = templates(FOLDER)


def render(name: str, /, **values: object) -> str:
    """Return the YAML text of preseed ``name`` with ``values`` filled in.

    Raises jinja2.UndefinedError for a value that is missing.
    """
    return _TEMPLATES.get_template(f"{name}.yaml").render(**values)


def document(name: str, /, **values: object) -> dict[str, Any]:
    """Return preseed ``name`` as data."""
    data: dict[str, Any] = yaml.safe_load(render(name, **values))
    return data
