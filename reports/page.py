"""The compatibility matrix as one self-contained page (``matrix.html``)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from builds import Build, Range
from reports.matrix import NAMES, Column, Matrix, Meeting, Scenario
from reports.text import plain
from reports.verdicts import Verdict

TEMPLATES = Path(__file__).parent / "templates"
_MINUTE = 60.0  # seconds


def page(matrix: Matrix, base: str = "") -> str:
    """Return the page's HTML.

    ``base`` is the relative path from the page's folder to the run's; empty where they are one.
    Every text is escaped, links lead to http(s) addresses and to evidence only, and the page loads
    nothing.
    """

    def index(evidence: str) -> str:
        return index_of(evidence, base)

    def target(issue: str, meeting: Meeting) -> str:
        # The worst scenario's evidence; where none was kept, what is said of the issue below.
        evidence = meeting.scenarios[0].evidence
        return f"#{anchor(issue)}" if evidence is None else index(evidence)

    def apart_from(issue: str) -> list[Column]:
        meetings = matrix.cells[issue]
        return [
            column
            for column in matrix.columns
            if column.id in meetings and meetings[column.id].verdict is Verdict.NOT_APPLICABLE
        ]

    def moved_on(issue: str) -> list[tuple[Column, Scenario]]:
        meetings = matrix.cells[issue]
        return [
            (column, one)
            for column in matrix.columns
            if column.id in meetings
            for one in meetings[column.id].scenarios
            if one.expects_now
        ]

    return (
        templates()
        .get_template("matrix.html")
        .render(
            matrix=matrix,
            Verdict=Verdict,
            names=NAMES,
            index=index,
            target=target,
            apart_from=apart_from,
            moved_on=moved_on,
            grouped=_grouped(matrix),
        )
    )


@cache
def templates() -> Environment:
    """Return the templates of all pages; every text they are given is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "anchor": anchor,
        "bounds": bounds,
        "clock": clock,
        "day": day,
        "duration": duration,
        "lasted": lasted,
        "plain": plain,
        "short": short,
        "size": size,
    }
    environment.tests["web"] = is_web
    return environment


def is_web(address: str) -> bool:
    """Say whether ``address`` may become a link: not ``javascript:`` and its like."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def index_of(evidence: str, base: str = "") -> str:
    """Return the relative link to the index of the folder ``evidence``, under ``base``."""
    parts = [*base.split("/"), *evidence.split("/"), "index.html"]
    # Quoted, a colon in the first part is not taken for the end of a scheme.
    return "/".join(quote(part) for part in parts if part not in ("", "."))


def anchor(issue: str) -> str:
    """Return the id of what the page says of ``issue``."""
    return f"issue-{quote(issue, safe='')}"


def short(build: Build) -> str:
    """Return the version as a person asks for it: that of ``incus@7.0.2`` is 7.0.2."""
    product, at, version = build.name.partition("@")
    return version if at and product == build.product and version else build.version


def bounds(entry: Range) -> str:
    """Return in words which versions of the track ``entry`` affects."""
    if not entry.affected:
        return "not affected"
    if entry.introduced and entry.fixed:
        return f"from {entry.introduced.version}, fixed in {entry.fixed.version}"
    if entry.introduced:
        return f"from {entry.introduced.version}, never fixed"
    if entry.fixed:
        return f"from the beginning, fixed in {entry.fixed.version}"
    return "all versions"


def duration(seconds: float) -> str:
    """Return ``seconds`` to a precision that helps: 0.4 s, 12 s, 3 min 05 s."""
    if seconds < 10:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), int(_MINUTE))
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def lasted(seconds: float) -> str:
    """Return ``seconds`` of a step: 9 ms, 1.4 s, 12 s, 3 min 05 s."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else duration(seconds)


def clock(seconds: float) -> str:
    """Return ``seconds`` since a start as minutes and seconds: 0:21.4, 12:03.0."""
    sign, tenths = "-" if seconds < 0 else "", round(abs(seconds) * 10)
    minutes, rest = divmod(tenths, 600)
    return f"{sign}{minutes}:{rest // 10:02d}.{rest % 10}"


def size(count: int) -> str:
    """Return ``count`` bytes to a precision that helps: 612 B, 36 kB, 1.2 MB."""
    amount, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if amount < 999.5:  # noqa: PLR2004 (what is shown as 1000 is one of the next unit)
            break
        amount, unit = amount / 1000, larger
    return f"{amount:.1f} {unit}" if unit != "B" and amount < 9.95 else f"{amount:.0f} {unit}"  # noqa: PLR2004


def day(time: datetime) -> str:
    """Return ``time`` as a date and minute in UTC."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _grouped(matrix: Matrix) -> Mapping[str, int]:
    """How many columns each product has, in the columns' order."""
    counts: dict[str, int] = {}
    for column in matrix.columns:
        counts[column.build.product] = counts.get(column.build.product, 0) + 1
    return counts
