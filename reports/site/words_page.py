"""The page of words: what pages say, each in a sentence."""

from __future__ import annotations

import tomllib

from clusterproof.reports.site.material import Material
from clusterproof.reports.site.rendering import TEMPLATES, script

WORDS = TEMPLATES / "words.toml"


def words_page(material: Material) -> str:
    """Return the page."""
    groups = tomllib.loads(WORDS.read_text(encoding="utf-8"))["groups"]
    return material.page("words", "", script("common"), here="words", groups=groups)
