"""Open or update one GitHub issue for each verdict of a run that nobody expected.

``report_issues.py RUN [--policy nightly] [--most 20] [--dry-run]``, with ``gh`` and GH_TOKEN (issues:
write). RUN is the folder of a run; what stops it by the gate's policy is reported, so that what somebody has
explained there is not. A subject is a scenario on a track of a product: a later build that shows the same
is added to the issue of the build before. The issue is found again by a line in its text, so that a second
call for the same run changes nothing. Cells that the lab blocked say nothing about a product; they are one
subject together.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from github_cli import GhError, gh

from clusterproof.reports.decide.gate import Objection, Weight, gate
from clusterproof.reports.decide.policy import PolicyError, load_policy
from clusterproof.reports.results.ledger import Issue, LedgerError, load_ledger
from clusterproof.reports.results.results import FILENAME, Cell, read
from clusterproof.reports.results.sanitize import plain
from clusterproof.reports.results.verdicts import Verdict

LABEL = "clusterproof"
ROOT = Path(__file__).parents[2]
_MARKER = re.compile(r"<!-- clusterproof: (\{.*\}) -->")
_MOST = 20
_REASON = 1500  # characters of a reason that an issue quotes
_TOLD = 50  # builds that an issue lists, the latest: its text has a limit
_LISTED = 1000  # issues that are looked through


@dataclass
class Subject:
    """What calls for a person: ``key`` is the same for every run that shows it; ``builds`` show it."""

    key: str
    title: str
    about: str
    builds: dict[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """An issue on GitHub: its number, whether it is open, its key, and the builds it tells of."""

    number: int
    open: bool
    key: str
    builds: tuple[str, ...]
    links: tuple[str, ...]


def subjects(objections: Iterable[Objection], ledger: Mapping[str, Issue]) -> list[Subject]:
    """Return what calls for a person among the gate's ``objections``, in their order: the worst first."""
    found: dict[str, Subject] = {}
    for objection in objections:
        if objection.weight.stops:
            cell = objection.cell
            subject = _blocked() if objection.weight is Weight.BLOCKS else _subject(cell, ledger)
            found.setdefault(subject.key, subject).builds.setdefault(_build(cell), cell)
    return list(found.values())


def _blocked() -> Subject:
    return Subject("blocked", "The lab blocked cells", "The lab failed; nothing was learnt about a product.")


def _subject(cell: Cell, ledger: Mapping[str, Issue]) -> Subject:
    where = f"{cell.build.product} {cell.build.track}"
    if cell.peer:
        where += f" with {cell.peer.track}"
    issue = ledger.get(cell.issue)
    documented = f"{cell.issue}: {issue.title}" if issue else f"{cell.issue} (not in the ledger)"
    about = [cell.verdict.meaning, "", f"Documented issue: {documented}", f"Scenario: `{cell.scenario}`"]
    if issue:
        about += [f"Upstream: {link}" for link in issue.upstream]
    return Subject(
        key=f"{cell.verdict} {cell.scenario} {where} {cell.substrate}",
        title=f"{cell.verdict}: {cell.issue} on {where} ({cell.scenario.rpartition('::')[2]})",
        about="\n".join(about),
    )


def _build(cell: Cell) -> str:
    peer = f" with {cell.peer.version}" if cell.peer else ""
    what = f" in {cell.scenario.rpartition('::')[2]}" if cell.verdict is Verdict.BLOCKED else ""
    return f"{cell.build.product} {cell.build.version}{peer}{what}"


def body(subject: Subject, known: Known | None, link: str) -> str:
    """Return the text of the issue about ``subject``, which keeps what ``known`` tells already."""
    builds = dict(zip(known.builds, known.links, strict=True)) if known else {}
    builds |= {build: link for build in subject.builds if build not in builds}
    builds = dict(list(builds.items())[-_TOLD:])
    newest = next(iter(subject.builds.values()))
    marker = json.dumps({"key": subject.key, "builds": builds}).replace(">", "\\u003e")
    seen = "\n".join(f"- {build}{f' ({where})' if where else ''}" for build, where in builds.items())
    return (
        f"{subject.about}\n\nSeen on:\n{seen}\n\nWhat was seen last:\n\n{_quoted(newest.reason)}\n\n"
        f"<!-- clusterproof: {marker} -->\n"
    )


def _quoted(text: str) -> str:
    """Return what a product printed as a block that mentions nobody and ends where it should."""
    text = plain(text).strip() or "no reason was recorded"
    text = text if len(text) <= _REASON else f"{text[:_REASON]} [...]"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def known(listed: list[dict[str, Any]]) -> dict[str, Known]:
    """Return by key what ``gh issue list`` has listed; of two with one key, the older."""
    found: dict[str, Known] = {}
    for one in sorted(listed, key=lambda issue: int(issue["number"])):
        # The last one: what a product has printed comes before it.
        markers = _MARKER.findall(one["body"] or "")
        try:
            told = json.loads(markers[-1]) if markers else {}
            key, builds = str(told["key"]), dict(told["builds"])
        except (ValueError, KeyError, TypeError):
            continue  # an issue of somebody else, with our label
        issue = Known(int(one["number"]), one["state"] == "OPEN", key, tuple(builds), tuple(builds.values()))
        found.setdefault(key, issue)
    return found


def report(found: list[Subject], most: int, link: str) -> list[str]:
    """Open and update issues; return one line for each thing that was done. Raises GhError."""
    fields = ("--json", "number,state,body")
    listed = gh("issue", "list", "--label", LABEL, "--state", "all", "--limit", str(_LISTED), *fields)
    there = known(json.loads(listed))
    about = "A verdict that nobody expected"
    gh("label", "create", LABEL, "--description", about, "--color", "B60205", "--force")
    lines = []
    opened = 0
    for subject in found:
        issue = there.get(subject.key)
        if issue is None and opened == most:
            lines.append(f"not opened, as {most} were opened already: {subject.title}")
        elif issue is None:
            text = body(subject, None, link)
            said = ("--title", subject.title, "--label", LABEL, "--body-file", "-")
            made = gh("issue", "create", *said, text=text)
            opened += 1
            lines.append(f"opened {made.strip()}: {subject.title}")
        elif new := [build for build in subject.builds if build not in issue.builds]:
            number = str(issue.number)
            gh("issue", "edit", number, "--body-file", "-", text=body(subject, issue, link))
            if not issue.open:
                gh("issue", "reopen", number)
            seen = f"Seen on {', '.join(new)}.{f' Run: {link}' if link else ''}"
            gh("issue", "comment", number, "--body-file", "-", text=seen)
            lines.append(f"updated #{number}: {subject.title} ({', '.join(new)})")
        else:
            lines.append(f"known as #{issue.number}: {subject.title}")
    return lines


def run_link() -> str:
    """Return the address of the workflow run this is part of, empty outside GitHub."""
    server, repository, run = (
        os.environ.get(name, "") for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")
    )
    return f"{server}/{repository}/actions/runs/{run}" if server and repository and run else ""


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line asks for; return the exit status."""
    parser = argparse.ArgumentParser(prog="report_issues.py", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="the folder of a run")
    parser.add_argument("--policy", default="nightly", help="the gate's (default: %(default)s)")
    parser.add_argument("--most", type=int, default=_MOST, help="open at most so many (default: %(default)s)")
    parser.add_argument("--dry-run", action="store_true", help="say what is found and change nothing")
    given = parser.parse_args(arguments)
    try:
        cells, _ = read(given.run / FILENAME)
        found = subjects(gate(cells, load_policy(given.policy)).objections, load_ledger(ROOT))
        if given.dry_run or not found:
            lines = [subject.title for subject in found] or ["nothing calls for a person"]
        else:
            lines = report(found, given.most, run_link())
    except OSError as error:
        sys.stderr.write(f'report_issues.py: "{error.filename}": {error.strerror}; name the folder of a run\n')
        return 1
    except (LedgerError, PolicyError, GhError) as error:
        sys.stderr.write(f"report_issues.py: {error}\n")
        return 1
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
