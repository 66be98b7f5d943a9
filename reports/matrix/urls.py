"""Where the pages of a site are: addresses that stay the same from one run to the next.

All are relative to the site's front page and need no quoting in a link.
"""

from __future__ import annotations

import hashlib
import re

from clusterproof.builds import Build
from clusterproof.reports.results.results import Key

FRONT = "index.html"
COMPARE = "compare.html"
LOOKUP = "lookup.html"
WORDS = "words.html"
FEED = "feed.xml"
ISSUES, BUILDS, CELLS, RUNS, BADGES = "issues", "builds", "cells", "runs", "badges"

_LONGEST = 100  # characters of a name, far below what file systems take
_UNSAFE = re.compile(r"[^A-Za-z0-9.+~_-]+")


def build_id(build: Build) -> str:
    """Return the identity of ``build`` as text: ``incus@7.0.2-3~bpo13+1``."""
    return f"{build.product}@{build.version}"


def issue_page(issue: str) -> str:
    """Return the address of the page of ``issue``."""
    return f"{ISSUES}/{_name(issue)}.html"


def build_page(build: str) -> str:
    """Return the address of the page of the build with the id ``build``."""
    return f"{BUILDS}/{_name(build.replace('@', '-', 1))}.html"


def badge_file(build: str) -> str:
    """Return the address of the badge of the build with the id ``build``."""
    return f"{BADGES}/{_name(build.replace('@', '-', 1))}.svg"


def run_page(run: str) -> str:
    """Return the address of the page of ``run``."""
    return f"{RUNS}/{_name(run)}.html"


def cell_folder(key: Key) -> str:
    """Return the folder of a cell's pages; different cells have different ones."""
    parts = [f"{key.product}-{key.version}"]
    if key.peer_version:
        parts.append(f"from-{key.peer_version}")
    if key.substrate != "container":
        parts.append(key.substrate)
    test = key.scenario.rpartition("::")[2].removeprefix("test_")
    short = _UNSAFE.sub("-", f"{test}.{'.'.join(parts)}")[:_LONGEST]
    return f"{CELLS}/{_name(key.issue)}/{short}.{_digest(*key)}"


def cell_page(key: Key) -> str:
    """Return the address of the page of a cell's newest result."""
    return f"{cell_folder(key)}/index.html"


def result_page(key: Key, run: str) -> str:
    """Return the address of the page of what a cell showed in ``run``, which no later run changes."""
    return f"{cell_folder(key)}/{_name(run)}.html"


def evidence_folder(run: str) -> str:
    """Return where a site keeps what ``run`` kept."""
    return f"{RUNS}/{_name(run)}"


def _name(text: str) -> str:
    """Return ``text`` as one part of an address; what had to be changed gets a digest."""
    name = _UNSAFE.sub("-", text)[:_LONGEST]
    return name if name == text and text.strip(".") else f"{name}.{_digest(text)}"


def _digest(*parts: str) -> str:
    joined = "\0".join(parts).encode("utf-8", "surrogatepass")
    return hashlib.sha256(joined).hexdigest()[:8]
