"""What pages are made with: templates, scripts, and words for times, sizes and ranges."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from clusterproof.builds import Range
from clusterproof.reports.matrix.matrix import NAMES, Matrix, WayOut
from clusterproof.reports.matrix.urls import badge_file, run_page
from clusterproof.reports.results.answers import Answer, answer, in_words, meaning
from clusterproof.reports.results.sanitize import one_line, plain
from clusterproof.reports.results.timeline import Loop, Step
from clusterproof.reports.results.verdicts import Verdict

TEMPLATES = Path(__file__).parent / "templates"
STALE_DAYS = 14
_MINUTE = 60.0  # seconds
_HOURS, _DAYS = 60, 48 * 60  # minutes from which an age is given in these units


class Made(NamedTuple):
    """When a site was made, and after how many days it calls a result stale."""

    made: datetime
    stale_days: int


class Script(NamedTuple):
    """A page's script and the digest by which the page allows this one and no other."""

    text: Markup
    digest: str


@cache
def templates() -> Environment:
    """Return the templates of all pages; every text they are given is escaped."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        # A shell's script and what a person pastes are no markup, until a page quotes them.
        autoescape=select_autoescape(disabled_extensions=("sh", "markdown"), default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "ago": ago,
        "anchor": anchor,
        "badge_file": badge_file,
        "bounds": bounds,
        "clock": clock,
        "day": day,
        "duration": duration,
        "lasted": lasted,
        "one_line": one_line,
        "paragraph": paragraph,
        "plain": plain,
        "run_page": run_page,
        "short": lambda build: build.short,
        "size": size,
        "versions": lambda segment: versions(segment.begin, segment.end),
    }
    environment.tests["web"] = is_web
    environment.globals |= {"answer": answer, "in_words": in_words, "meaning": meaning}
    environment.globals |= {"names": NAMES, "steps_in": steps_in}
    # The order of what scripts are given means something.
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    return environment


def own_markup(text: str) -> Markup:
    """Return ``text``, which one of our templates has made and escaped, as it is."""
    return Markup(text)  # noqa: S704


@cache
def script(*names: str) -> Script:
    """Return the script that is made of the files ``names`` among the templates."""
    text = "\n".join((TEMPLATES / f"{name}.js").read_text(encoding="utf-8") for name in names)
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Script(Markup(text), f"sha256-{digest}")  # noqa: S704 (our own files)


def render(template: str, matrix: Matrix, made: Made, **values: Any) -> str:  # noqa: ANN401
    """Return the page that ``template`` makes of ``values``."""
    return (
        templates()
        .get_template(f"{template}.html")
        .render(
            {"here": "", "linked": True, "feed": False, **values},
            site=made,
            matrix=matrix,
            Verdict=Verdict,
            Answer=Answer,
            WayOut=WayOut,
            is_stale=lambda time: made.made - time > timedelta(days=made.stale_days),
        )
    )


def steps_in(entries: Sequence[Step | Loop]) -> int:
    """Return how many steps ``entries`` are, those of loops among them."""
    return sum(len(one.steps) if isinstance(one, Loop) else 1 for one in entries)


def is_web(address: str) -> bool:
    """Say whether ``address`` may become a link: not ``javascript:`` and its like."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)


def anchor(build: str) -> str:
    """Return the id of what an issue's page says of the build with the id ``build``."""
    return f"on-{quote(build, safe='')}"


def paragraph(text: str) -> str:
    """Return ``text`` without the line breaks of the file it was written in."""
    return " ".join(text.split())


def versions(begin: str | None, end: str | None) -> str:
    """Return in words which versions lie from ``begin`` up to and without ``end``."""
    if begin and end:
        return f"{begin} up to before {end}"
    if begin:
        return f"{begin} and later"
    return f"before {end}" if end else "every version"


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


def ago(time: datetime, now: datetime) -> str:
    """Return how old ``time`` is: 5 min ago, 3 h ago, 12 days ago."""
    minutes = max(0, round((now - time).total_seconds() / _MINUTE))
    if minutes < _HOURS:
        return f"{minutes} min ago"
    return f"{round(minutes / 60)} h ago" if minutes < _DAYS else f"{round(minutes / 1440)} days ago"


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
    # A site has a million of them, for which strftime would take long.
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat(' ', 'minutes')} UTC"
