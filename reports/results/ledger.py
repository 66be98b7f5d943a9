"""The ledger: one TOML file per documented issue, beside the test modules that reproduce it."""

from __future__ import annotations

import glob
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from clusterproof import SUITES
from clusterproof.builds import Bound, Build, Expectation, Product, Range, range_for

Where = Literal["log", "message"]
# What gives the verdicts: tests beside the entry, or the crash watch, over all cells of a run.
Judge = Literal["scenarios", "crash-watch"]

_SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_SHOWN = 80  # characters of a wrong value that a message quotes


class LedgerError(ValueError):
    """What is wrong in the ledger: ``problems``, one line each, naming file, key and value."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


def slug(value: str) -> str:
    """Return ``value``, the id or area of an issue. Raises ValueError where it is no slug."""
    if not _SLUG.fullmatch(value):
        raise ValueError("must be a slug: small letters, digits and single hyphens, like lxd-15313")
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return value.strip()


def _https(value: str) -> str:
    try:
        parts = urlsplit(value)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme != "https" or not parts.hostname or any(c.isspace() or c in "\"'<>" for c in value):
        raise ValueError("must be an https:// address")
    return value


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"names {', '.join(twice)} more than once")
    return values


Slug = Annotated[str, AfterValidator(slug)]
Words = Annotated[str, AfterValidator(_said)]
Https = Annotated[str, AfterValidator(_https)]


def _compiles(value: str) -> str:
    try:
        compiled = re.compile(value, re.MULTILINE)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from None
    # It would find what is looked for in every text, so every failure would be taken for it.
    if compiled.search(""):
        raise ValueError("matches an empty text, so it identifies nothing")
    return value


Regex = Annotated[str, AfterValidator(_compiles)]


class Pattern(BaseModel):
    """A regular expression (Python's, multiline) that only the documented symptom matches.

    ``where`` says in which text: the members' daemon logs, or the failed check's own message.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: Where
    regex: Regex

    def find(self, text: str) -> Iterator[str]:
        """Yield the whole lines of ``text`` that matches touch."""
        for match in re.finditer(self.regex, text, re.MULTILINE):
            begin = text.rfind("\n", 0, match.start()) + 1
            end = text.find("\n", max(match.end() - 1, match.start()))
            yield from text[begin : end if end >= 0 else None].splitlines()


class KnownCrash(BaseModel):
    """A crash that the page ``finding`` of ``docs/findings/`` describes; ``regex`` finds it in what was said."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    finding: Slug
    regex: Regex

    def matches(self, lines: Iterable[str]) -> bool:
        """Say whether the first lines of what a daemon said are those of this crash."""
        return re.search(self.regex, "\n".join(lines)) is not None


class Symptom(BaseModel):
    """What the issue looks like: in words for a person, in patterns and states for the judge.

    ``patterns`` are for what the product says. ``shown`` are names of states that the scenario itself
    recognises: it raises Shown("log folder gone", ...), and no expression has to find the name again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    words: Words
    patterns: tuple[Pattern, ...] = ()
    shown: Annotated[tuple[Words, ...], AfterValidator(_unique)] = ()

    def find(self, texts: Mapping[Where, str | Sequence[str]]) -> list[str]:
        """Return the lines that show the symptom, each once; none means it was not identified.

        ``texts`` holds, by where it was found, one text or several (a log per member). One
        pattern that matches is enough.
        """
        lines: dict[str, None] = {}
        for pattern in self.patterns:
            found = texts.get(pattern.where, ())
            for text in [found] if isinstance(found, str) else found:
                lines.update(dict.fromkeys(pattern.find(text)))
        return list(lines)


class Issue(BaseModel):
    """A documented issue: a bug with ranges, or a promise, which upstream documents, without.

    ``needs`` are capabilities of the lab (``cephfs``). ``products`` are those it can concern. ``judged_by`` is
    ``crash-watch`` where it has no scenario of its own: what the watch saw in all cells of a run judges it,
    without the ``known_crashes``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Slug
    title: Words
    kind: Literal["bug", "promise"]
    area: Slug
    products: Annotated[tuple[Product, ...], Field(min_length=1), AfterValidator(_unique)]
    upstream: Annotated[tuple[Https, ...], Field(min_length=1), AfterValidator(_unique)]
    needs: Annotated[tuple[Slug, ...], AfterValidator(_unique)] = ()
    workaround: Words | None = None
    judged_by: Judge = "scenarios"
    known_crashes: tuple[KnownCrash, ...] = ()
    symptom: Symptom
    ranges: tuple[Range, ...] = ()

    _path: Path = PrivateAttr(default=Path())

    @field_validator("area")
    @classmethod
    def _in_its_folder(cls, value: str, info: ValidationInfo) -> str:
        folder = (info.context or {}).get("folder", value)
        if value != folder:
            raise ValueError(f'must be the name of its folder, "{folder}"')
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        problems = list(self._contradictions())
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _contradictions(self) -> Iterator[str]:
        if self.kind == "promise" and self.ranges:
            yield 'ranges: a promise has none (kind = "promise")'
        if self.kind == "bug" and not self.ranges:
            yield 'ranges: a bug needs at least one (kind = "bug")'
        if self.kind == "bug" and not (self.symptom.patterns or self.symptom.shown):
            yield 'symptom: a bug needs at least one of patterns and shown (kind = "bug")'
        if self.judged_by == "crash-watch":
            yield from self._not_for_the_watch()
        elif self.known_crashes:
            yield 'known_crashes: only what the crash watch judges has them (judged_by = "crash-watch")'
        seen: dict[tuple[str, str | None, str | None], int] = {}
        for index, entry in enumerate(self.ranges):
            if entry.product not in self.products:
                listed = ", ".join(self.products)
                yield f'ranges[{index}].product: "{entry.product}" is not among products ({listed})'
            first = seen.setdefault((entry.product, entry.track, entry.scenario), index)
            if first != index:
                whose = f'{entry.product} "{entry.track}"' if entry.track else f"the whole of {entry.product}"
                yield f"ranges[{index}].track: {whose} already has its range in ranges[{first}]"

    def _not_for_the_watch(self) -> Iterator[str]:
        watched = '(judged_by = "crash-watch")'
        if self.kind != "promise":
            yield f'kind: what the crash watch judges is a promise, kind = "promise" {watched}'
        if self.symptom.patterns or self.symptom.shown:
            yield f"symptom: the crash watch recognises crashes itself; leave patterns and shown out {watched}"
        if self.needs:
            yield f"needs: the crash watch is in every cell and needs nothing {watched}"

    @property
    def path(self) -> Path:
        """The TOML file it was read from."""
        return self._path

    @property
    def scenarios(self) -> tuple[Path, ...]:
        """The test modules that reproduce it, by name: all whose ledger entry this is (``entry_beside``)."""
        modules = self._path.parent.glob(f"{glob.escape(self._path.stem)}*.py")
        return tuple(sorted(module for module in modules if entry_beside(module) == self._path))

    def expects(self, build: Build, scenario: str = "") -> Expectation:
        """Return what the ledger says of ``build``, for the test ``scenario``, or that nothing is known."""
        if build.product not in self.products:
            return Expectation.NOT_APPLICABLE
        entry = range_for(self.ranges, build, scenario)
        return entry.expects(build.version) if entry else Expectation.UNKNOWN

    def undecided(self, build: Build, scenario: str = "") -> Bound | None:
        """Return the bound that ``build``, of a commit between two releases, may be on either side of."""
        entry = range_for(self.ranges, build, scenario)
        return entry.undecided(build.version) if entry else None


def entry_beside(module: Path) -> Path:
    """Return the ledger file that a test module belongs to, whether or not it is there.

    Of several scenario modules of one issue, each has the name of the TOML file and words of its own behind
    it: ``test_pool_ceph.py`` belongs to ``test_pool.toml``, unless there is a ``test_pool_ceph.toml``.
    """
    words = module.stem.split("_")
    stems = ["_".join(words[:count]) for count in range(len(words), 1, -1)]
    files = [module.with_name(f"{stem}.toml") for stem in stems]
    return next((file for file in files if file.exists()), module.with_suffix(".toml"))


# By the last name in a dotted key: what may stand there, for messages about unknown keys.
_TABLES: dict[str, type[BaseModel]] = {
    "": Issue,
    "symptom": Symptom,
    "patterns": Pattern,
    "ranges": Range,
    "known_crashes": KnownCrash,
    "introduced": Bound,
    "fixed": Bound,
}


def read_issue(path: Path, shown: Path | None = None) -> Issue:
    """Return the issue written in ``path``.

    Raises LedgerError with every problem of the file, which messages call ``shown``.
    """
    shown = shown or path
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LedgerError([f"{shown}: not UTF-8 at byte {error.start}; save it as UTF-8"]) from None
    except OSError as error:
        raise LedgerError([f"{shown}: cannot be read: {error.strerror}"]) from None
    return parse_issue(text, path, shown)


def parse_issue(text: str, path: Path, shown: Path) -> Issue:
    """Return the issue that is ``text``, the content of ``path``.

    Raises LedgerError with every problem of the text, which messages call ``shown``.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise LedgerError([f"{shown}: not TOML: {error}"]) from None
    except RecursionError:
        raise LedgerError([f"{shown}: not TOML: nested too deeply"]) from None
    # Strict types ("no" is not false), which for tables and arrays only JSON input allows. A TOML
    # date becomes a table, so that it does not pass for text.
    strict = json.dumps(data, default=lambda date: {"date": str(date)})
    try:
        issue = Issue.model_validate_json(strict, strict=True, context={"folder": path.parent.name})
    except ValidationError as error:
        details = error.errors(include_url=False)
        # Items that are wrong are left out before the rest is counted: that is no problem of its own.
        own = [detail for detail in details if detail["type"] != "too_short" or not detail["input"]]
        raise LedgerError([f"{shown}: {_problem(detail)}" for detail in own]) from None
    issue._path = path
    return issue


def load_ledger(root: Path | None = None) -> dict[str, Issue]:
    """Return all issues beneath ``suites/`` in the folder ``root``, by id, in their files' order.

    Raises LedgerError with every problem of all files; two files with one id are both named.
    """
    root = root or SUITES.parent
    suites = root / "suites"
    if not suites.is_dir():
        raise LedgerError([f'no folder "suites" in {root}; run from the root of the checkout'])
    issues: dict[str, Issue] = {}
    problems: list[str] = []
    for path in sorted(suites.rglob("*.toml")):
        shown = path.relative_to(root)
        try:
            issue = read_issue(path, shown)
        except LedgerError as error:
            problems += error.problems
            continue
        other = issues.setdefault(issue.id, issue)
        if other is not issue:
            first = other.path.relative_to(root)
            problems.append(f'{shown}: id: "{issue.id}" is already the id of {first}; ids are unique')
    if problems:
        raise LedgerError(problems)
    return issues


def _problem(detail: Any) -> str:  # noqa: ANN401 (pydantic's ErrorDetails, whose ctx is untyped)
    location: tuple[str | int, ...] = detail["loc"]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    message = str(detail["msg"]).removeprefix("Value error, ")
    if detail["type"] == "missing":
        return f"{key}: is missing"
    if detail["type"] == "extra_forbidden":
        parents = [part for part in location[:-1] if isinstance(part, str)]
        known = ", ".join(chain(_TABLES[parents[-1] if parents else ""].model_fields))
        message = f"unknown key; known here are {known}"
    value = detail["input"]
    # Where a whole table is wrong in itself, the message names the values that contradict.
    if isinstance(value, dict) and detail["type"] == "value_error":
        return f"{key}: {message}" if key else message
    quoted = json.dumps(value, ensure_ascii=False)
    return f"{key}: {message} (value {quoted[: _SHOWN - 3] + '...' if len(quoted) > _SHOWN else quoted})"
