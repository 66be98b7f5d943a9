"""The timeline: a cell's transcript, read so that neither its size nor its content can hurt a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from math import isfinite
from pathlib import Path
from typing import Any, Literal, NamedTuple

from clusterproof.reports.results.sanitize import one_line, plain

TRANSCRIPT = "transcript.jsonl"

# Of a larger transcript the middle is left out: how it began, and above all how it ended, matter.
HEAD, TAIL = 128 * 1024, 384 * 1024  # bytes
FIRST, LAST = 100, 400  # steps
_TEXT = 20_000  # characters of one text of a step
_BRIEF = 160  # characters of what a step did that fit its line
_WORD = 40  # characters of a verb, a member's name, a status
_TEXTS = 12  # texts of one step
_MANY = 10**9
_BAD_STATUS = 400
_LENGTHS = (1, 2, 3)  # steps of one attempt
_REPEATED = 4  # attempts from which on they are one entry

_LABELS = {
    "stdin": "standard input",
    "body": "request",
    "content": "content",
    "stdout": "standard output",
    "stderr": "standard error",
    "answer": "answer",
    "lines": "matching lines",
}
_NO_SECTION = {"at", "seconds", "verb", "target", "what", "times", "rc", "status", "error"}


class Section(NamedTuple):
    """One text of a step, as the page shows it under ``label``."""

    label: str
    text: str


class Step(NamedTuple):
    """One step of a transcript.

    ``offset`` is when it began, in seconds since the cell's start; ``seconds`` how long it (or all
    ``times`` of it) took; None where the transcript does not say. ``mark`` says in a word what came
    of it where that was not success; ``trouble`` how much that means: a command that ends with
    another status than 0 may be all right, an ``error`` ended what was being done. What was done again
    later is no trouble: only the last attempt counts. ``inside`` says
    that it belongs to the check above it.
    """

    number: int
    offset: float | None
    target: str
    verb: str
    what: str
    seconds: float | None
    times: int
    mark: str
    trouble: Literal["", "odd", "error"]
    error: str
    sections: tuple[Section, ...]
    inside: bool = False


class Gap(NamedTuple):
    """What was left out between two steps: whole ``steps``, or ``size`` bytes of them."""

    steps: int
    size: int


class Loop(NamedTuple):
    """Steps that were done again and again in turn, as while something is waited for.

    ``attempts`` is how often, ``seconds`` how long from the first to the last.
    """

    steps: tuple[Step, ...]
    attempts: int
    seconds: float | None

    @property
    def last(self) -> Step:
        """The last of them, which says how it came out."""
        return self.steps[-1]

    @property
    def once(self) -> tuple[Step, ...]:
        """One attempt, the last."""
        return self.steps[-(len(self.steps) // self.attempts) :]


class Checked(NamedTuple):
    """A check, and what was done for it."""

    check: Step
    inside: tuple[Step | Loop, ...]


class Timeline(NamedTuple):
    """The steps of a cell in the order they began, at most one Gap among them.

    ``unreadable`` counts lines that are no step; ``torn`` says that the last one was cut off.
    ``earlier`` counts steps of an earlier result that shares the folder, which are left out.
    """

    entries: tuple[Step | Gap, ...] = ()
    unreadable: int = 0
    torn: bool = False
    earlier: int = 0

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that are shown."""
        return tuple(entry for entry in self.entries if isinstance(entry, Step))

    @property
    def folded(self) -> tuple[Step | Loop | Checked | Gap, ...]:
        """The same entries with what a check did beneath it, and with repeated steps as one."""
        found: list[Step | Loop | Checked | Gap] = []
        for part, group in groupby(self.entries, _part):
            entries = list(group)
            if part == "gap":
                found += entries
            elif part == "inside" and found and isinstance(found[-1], Checked):
                found[-1] = found[-1]._replace(inside=tuple(_loops(entries)))
            elif part == "check":
                found += [Checked(step, ()) for step in entries if isinstance(step, Step)]
            else:
                found += _loops(entries)
        return tuple(found)

    @property
    def gap(self) -> Gap | None:
        """What was left out, if anything."""
        return next((entry for entry in self.entries if isinstance(entry, Gap)), None)

    @property
    def checks(self) -> tuple[Step, ...]:
        """What the scenario checked."""
        return tuple(step for step in self.steps if step.verb == "check")

    @property
    def troubles(self) -> int:
        """How many of the steps that are shown failed for good."""
        return sum(bool(step.trouble) for step in self.steps)

    @property
    def targets(self) -> tuple[str, ...]:
        """The members and hosts that steps acted on, by name."""
        return tuple(sorted({step.target for step in self.steps if step.verb != "check"}))


def read_timeline(path: Path, started: datetime, *, shared: bool = False) -> Timeline:
    """Return what the transcript ``path`` says of the cell that began at ``started``.

    ``shared`` says that an earlier result wrote into it, too. Where there is no transcript the
    timeline is empty; lines that cannot be read are counted. Raises OSError where the file cannot
    be read.
    """
    if path.is_symlink() or not path.is_file():
        return Timeline()
    head, tail, gap, torn = _lines(path)
    since = started if shared else None
    unreadable = earlier = 0
    parts: list[list[Step]] = []
    for number, lines in ((1, head), (1 + len(head), tail)):
        steps = []
        for index, line in enumerate(lines, number):
            data = _parsed(line)
            at = _instant(data.get("at")) if data else None
            if data is None:
                unreadable += 1
            elif since and at and at < since:
                earlier += 1
            else:
                steps.append(_step(index, data, at, started))
        parts.append(list(_arranged(steps)))
    parts = _for_good(parts)
    entries: list[Step | Gap] = [*parts[0], *([gap] if gap else []), *parts[1]]
    return Timeline(tuple(entries), unreadable, torn, earlier)


def _for_good(parts: Sequence[Sequence[Step]]) -> list[list[Step]]:
    """Return ``parts`` with no trouble in steps that were done again later."""
    again: set[tuple[str, str, str]] = set()
    found = []
    for part in reversed(parts):
        kept = []
        for step in reversed(part):
            kept.append(step._replace(trouble="") if _same(step) in again else step)
            again.add(_same(step))
        found.append(kept[::-1])
    return found[::-1]


def _same(step: Step) -> tuple[str, str, str]:
    return step.verb, step.target, step.what


def _part(entry: Step | Gap) -> str:
    if isinstance(entry, Gap):
        return "gap"
    return "check" if entry.verb == "check" else "inside" if entry.inside else ""


def _loops(entries: Sequence[Step | Gap]) -> list[Step | Loop]:
    """Return the steps among ``entries``, those that were repeated in turn as one."""
    steps = [entry for entry in entries if isinstance(entry, Step)]
    found: list[Step | Loop] = []
    while steps:
        length, attempts = max(((one, _attempts(steps, one)) for one in _LENGTHS), key=lambda one: one[1])
        if attempts < _REPEATED:
            found.append(steps.pop(0))
            continue
        looped, steps = steps[: length * attempts], steps[length * attempts :]
        first, last = looped[0].offset, looped[-1].offset
        took = None if first is None or last is None else last - first + (looped[-1].seconds or 0.0)
        found.append(Loop(tuple(looped), attempts, took))
    return found


def _attempts(steps: Sequence[Step], length: int) -> int:
    """Return how often the first ``length`` of ``steps`` follow each other at the beginning."""
    wanted = [_same(step) for step in steps[:length]]
    count = 0
    while [_same(step) for step in steps[count * length : (count + 1) * length]] == wanted:
        count += 1
    return count


def _lines(path: Path) -> tuple[list[bytes], list[bytes], Gap | None, bool]:
    """Return the first and the last lines, what lies between, and whether the last is cut off."""
    with path.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        if size <= HEAD + TAIL:
            content = file.read(size)
            lines = [line for line in content.split(b"\n") if line.strip()]
            torn = bool(lines) and not content.endswith(b"\n") and _parsed(lines[-1]) is None
            left_out = len(lines) - FIRST - LAST
            if left_out <= 0:
                return lines, [], None, torn
            return lines[:FIRST], lines[-LAST:], Gap(left_out, 0), torn
        # A line that is cut by these bounds belongs to what is left out.
        begin = file.read(HEAD)
        begin = begin[: begin.rfind(b"\n") + 1]
        file.seek(size - TAIL)
        end = file.read(TAIL).partition(b"\n")[2]
    first = [line for line in begin.split(b"\n") if line.strip()][:FIRST]
    last = [line for line in end.split(b"\n") if line.strip()][-LAST:]
    shown = sum(len(line) + 1 for line in (*first, *last))
    torn = bool(last) and not end.endswith(b"\n") and _parsed(last[-1]) is None
    return first, last, Gap(0, size - shown), torn


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        data = json.loads(line.decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _step(number: int, data: dict[str, Any], at: datetime | None, started: datetime) -> Step:
    what = one_line(_text(data.get("what", "")))
    verb = _word(data.get("verb", ""))
    times = data.get("times", 1)
    rc, status, error = data.get("rc", 0), data.get("status", 0), data.get("error", "")
    mark, trouble = "", ""
    if error:
        mark, trouble = "fails" if verb == "check" else "error", "error"
    elif rc not in (0, None):
        mark, trouble = f"rc {_word(rc)}", "odd"
    elif isinstance(status, int) and status >= _BAD_STATUS:
        mark, trouble = f"status {_word(status)}", "odd"
    elif verb == "check":
        mark = "holds"
    return Step(
        number=number,
        offset=(at - started).total_seconds() if at else None,
        target=_word(data.get("target", "")),
        verb=verb,
        what=what if len(what) <= _BRIEF else f"{what[: _BRIEF - 1]}…",
        seconds=_seconds(data.get("seconds")),
        times=min(times, _MANY) if isinstance(times, int) and times > 1 else 1,
        mark=mark,
        trouble="error" if trouble == "error" else "odd" if trouble else "",
        error=_text(error) if error else "",
        sections=tuple(_sections(data, what)),
    )


def _sections(data: dict[str, Any], what: str) -> Iterator[Section]:
    if len(what) > _BRIEF:
        yield Section("in full", _text(data["what"]))
    known = [key for key in _LABELS if key in data]
    others = sorted(key for key in data if key not in _LABELS and key not in _NO_SECTION)
    for key in [*known, *others][:_TEXTS]:
        if text := _text(data[key]):
            yield Section(_LABELS.get(key, _word(key)), text)


def _arranged(steps: Sequence[Step]) -> Iterator[Step]:
    """Yield ``steps`` in the order they began: they were written as they ended.

    So a check comes before what was done for it, which is marked as its inside.
    """
    begun: list[tuple[float, bool, Step]] = []
    latest = float("-inf")
    for step in steps:
        if step.offset is not None:
            latest = step.offset
        begun.append((latest, step.verb != "check", step))
    end = float("-inf")
    for offset, within, step in sorted(begun, key=lambda one: one[:2]):
        if not within:
            end = offset + (step.seconds or 0.0)
        yield step._replace(inside=within and offset <= end)


def _text(value: object) -> str:
    """Return ``value`` as a page may show it; an answer in JSON is laid out for reading."""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        text = "\n".join(value)
    elif isinstance(value, str):
        text = _laid_out(value)
    else:
        text = _dumped(value)
    # Cut before it is cleaned, so that a huge text costs no more than a large one.
    text = plain(_cut(text)).strip("\n")
    return text if text.strip() else ""


def _laid_out(text: str) -> str:
    if text[:1] not in ("{", "[") or len(text) > _TEXT:
        return text
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        return text


def _dumped(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:
        return "[nested too deeply]"


def _cut(text: str) -> str:
    if len(text) <= _TEXT:
        return text
    half = _TEXT // 2
    return f"{text[:half]}\n[... {len(text) - 2 * half} characters left out ...]\n{text[-half:]}"


def _word(value: object) -> str:
    word = one_line(value if isinstance(value, str) else _dumped(value)[: 2 * _WORD])
    return word if len(word) <= _WORD else f"{word[: _WORD - 1]}…"


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        seconds = float(value)
    except OverflowError:
        return None
    return seconds if isfinite(seconds) and seconds >= 0 else None


def _instant(value: object) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)
