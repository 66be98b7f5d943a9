"""Documented issues as people name them: by id, by number, by address, by words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping

from clusterproof.reports.results.ledger import Issue

_SHORT = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)#(?P<number>\d+)")
_ADDRESS = re.compile(r"https?://[^/]+/(?P<repository>[\w.-]+/[\w.-]+)/[a-z]+/(?P<number>\d+)\b")


class UnknownIssueError(ValueError):
    """No documented issue is called like that; the message has the nearest, and how all are listed."""


def find_issues(text: str, ledger: Mapping[str, Issue]) -> list[str]:
    """Return the ids of the issues that a person calls ``text``.

    That is an id (``incus-2986``), the number of an upstream report (``2986``, ``#2986``), ``lxc/incus#2986``,
    or an address on an upstream's site, of which a report and a change with the same number are one thing.
    A number is that of an id where there is one; else several issues may be about one report.
    Raises UnknownIssueError.
    """
    said = text.strip()
    if said in ledger:
        return [said]
    number = said.removeprefix("#")
    found: list[str] = []
    if number.isascii() and number.isdigit():
        found = [one for one in ledger if one.rpartition("-")[2] == number]
        found = found or [issue.id for issue in ledger.values() if number in _numbers(issue)]
    elif reference := _SHORT.fullmatch(said) or _ADDRESS.match(said):
        wanted = reference["repository"].lower(), reference["number"]
        found = [issue.id for issue in ledger.values() if wanted in set(_references(issue))]
    else:
        address = said.rstrip("/")
        found = [one.id for one in ledger.values() if address in {url.rstrip("/") for url in one.upstream}]
    if found:
        return found
    close = difflib.get_close_matches(said, ledger, n=1)
    nearest = f" (nearest: {close[0]})" if close else ""
    raise UnknownIssueError(f'"{said}" is not in the ledger{nearest}; clusterproof issues [WORDS] lists them')


def search(words: Iterable[str], ledger: Mapping[str, Issue]) -> list[Issue]:
    """Return the issues in which each of ``words`` occurs, in capitals or not, those with it in the title first.

    Looked at are id, title, area, products, symptom, workaround and upstream's addresses.
    """
    wanted = [one.lower() for one in words]
    found = [issue for issue in ledger.values() if all(one in _text(issue) for one in wanted)]
    return sorted(found, key=lambda one: (not all(word in one.title.lower() for word in wanted), one.id))


def bounds(issue: Issue) -> list[str]:
    """Return on one line for each product and track which versions have the bug; nothing of a promise."""
    lines = []
    for entry in issue.ranges:
        where = f"{entry.product} {entry.track}" if entry.track else entry.product
        if entry.scenario:
            where += f" ({entry.scenario})"
        if not entry.affected:
            says = "not affected"
        else:
            since = f"from {entry.introduced.version}" if entry.introduced else "affected"
            says = f"{since}, fixed in {entry.fixed.version}" if entry.fixed else f"{since}, not fixed"
        lines.append(f"{where}: {says}")
    return lines


def _text(issue: Issue) -> str:
    parts = (issue.id, issue.title, issue.area, *issue.products, issue.symptom.words, issue.workaround or "")
    upstream = [*issue.upstream, *(f"{repository}#{number}" for repository, number in _references(issue))]
    return " ".join(" ".join((*parts, *upstream)).split()).lower()


def _references(issue: Issue) -> list[tuple[str, str]]:
    found = [_ADDRESS.match(url) for url in issue.upstream]
    return [(one["repository"].lower(), one["number"]) for one in found if one]


def _numbers(issue: Issue) -> list[str]:
    return [number for _, number in _references(issue)]
