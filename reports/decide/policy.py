"""Policies: what a gate lets pass, as data; those of this project and the user's TOML files."""

from __future__ import annotations

import tomllib
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clusterproof.reports.results.ledger import Slug, Words
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import one_line
from clusterproof.reports.results.verdicts import Verdict

FOLDER = Path(__file__).parent / "policies"
DEFAULT = "expected"
_DEEPEST = 8  # policies that extend one another


class PolicyError(ValueError):
    """A policy cannot be used; the message is one line with the file, the key and the way out."""


class Explanation(BaseModel):
    """An objection that a person has looked into: why it is acceptable, and until when.

    ``build`` is one build as a person calls it (``incus@7.0.2``), with its full version, or a whole
    product (``incus``). Without ``scenario`` (pytest's name of it, or its last part) all scenarios
    of the issue are meant. It holds up to and including the day ``expires``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    issue: Slug
    build: Words
    verdict: Verdict
    reason: Words
    expires: date
    scenario: Words | None = None

    @field_validator("expires", mode="before")
    @classmethod
    def _a_day(cls, value: object) -> object:
        if isinstance(value, datetime) or not isinstance(value, date):
            raise ValueError("must be a day without quotes, like 2026-12-31")  # noqa: TRY004 (pydantic's)
        return value

    def fits(self, cell: Cell) -> bool:
        """Say whether it is about ``cell``, whatever the day."""
        build = cell.build
        return (
            self.issue == cell.issue
            and self.verdict is cell.verdict
            and self.build in (build.name, f"{build.product}@{build.version}", build.product)
            and self.scenario in (None, cell.scenario, cell.scenario.rpartition("::")[2])
        )

    def __str__(self) -> str:
        """Return it as messages name it."""
        return f"{self.issue} {self.verdict} on {self.build}"


class Policy(BaseModel):
    """What stops a run.

    A cell with a verdict of ``fails`` fails it unless it is explained; one of ``blocks`` blocks it
    where there are more than ``max_blocked``. Unless ``complete`` is false, so does a result that
    is missing. With ``enforced = false`` all is said and the exit status is 0 all the same. With
    ``against`` one build is judged, and only by what its predecessor did better.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    fails: tuple[Verdict, ...]
    blocks: tuple[Verdict, ...]
    max_blocked: Annotated[int, Field(ge=0)] = 0
    complete: bool = True
    enforced: bool = True
    against: Literal["predecessor"] | None = None
    explained: tuple[Explanation, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> Policy:
        if both := sorted(set(self.fails) & set(self.blocks)):
            raise ValueError(f"fails and blocks both name {', '.join(both)}")
        for number, one in enumerate(self.explained):
            if one.verdict not in (*self.fails, *self.blocks):
                raise ValueError(
                    f'explained[{number}].verdict: "{one.verdict}" stops nothing in this policy, '
                    "so there is nothing to explain"
                )
        return self


def names() -> list[str]:
    """Return the names of this project's own policies."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load_policy(name: str) -> Policy:
    """Return the policy of this project that is called ``name``, or the one in the file ``name``.

    Raises PolicyError.
    """
    return _policy(name, Path())[0]


def _policy(name: str, base: Path, depth: int = 0) -> tuple[Policy, dict[str, Any]]:
    path = _found(name, base)
    data = _read(path)
    shown = one_line(str(path))
    if depth == _DEEPEST:
        raise PolicyError(f"{shown}: extends: policies extend one another without end, or too deeply")
    parent = data.pop("extends", None)
    if parent is not None:
        if not isinstance(parent, str):
            raise PolicyError(f"{shown}: extends: must be the name of a policy or of a file, in quotes")
        inherited = _policy(parent, path.parent, depth + 1)[1]
        more = data.get("explained", [])
        if isinstance(more, list):
            data["explained"] = [*inherited.get("explained", []), *more]
        data = inherited | data
    try:
        return Policy.model_validate({**data, "name": path.stem}), data
    except ValidationError as error:
        raise PolicyError(f"{shown}: {_first(error)}") from None


def _found(name: str, base: Path) -> Path:
    if name in names():
        return FOLDER / f"{name}.toml"
    path = base / name
    if path.is_file():
        return path
    raise PolicyError(
        f'policy "{one_line(name)}" is neither one of {", ".join(names())} nor a file; name one of them'
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise PolicyError(one_line(f"{path}: not TOML: {error}")) from None
    except (UnicodeDecodeError, RecursionError):
        raise PolicyError(one_line(f"{path}: not TOML: no text, or nested too deeply")) from None
    except OSError as error:
        raise PolicyError(one_line(f"{path}: cannot be read: {error.strerror}")) from None
    if "name" in data:
        raise PolicyError(one_line(f"{path}: name: a policy is called as its file"))
    return data


def _first(error: ValidationError) -> str:
    details = error.errors(include_url=False)
    detail = details[0]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"]).lstrip(".")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "missing":
        message = "is missing; write it, or extend a policy that has it"
    elif detail["type"] == "extra_forbidden":
        inside = any(isinstance(part, int) for part in detail["loc"])
        known = Explanation.model_fields if inside else {**Policy.model_fields, "extends": None}
        message = f"unknown key; known here are {', '.join(one for one in known if one != 'name')}"
    elif not isinstance(detail["input"], dict):
        message += f" (value {one_line(str(detail['input']))[:80]})"
    more = f" (and {len(details) - 1} more)" if len(details) > 1 else ""
    return f"{key}: {message}{more}" if key else f"{message}{more}"
