"""What a build is, how its versions are ordered, and what a range says of it.

The one vocabulary that ``lab`` and ``reports`` share; imports nothing of this project.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Literal, Self

from debian.debian_support import Version
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

Product = Literal["lxd", "incus"]

UNRELEASED = "+after."
"""What follows the last release in the version of a snap of a later commit, before the commit's name."""

# What the lab puts behind the version that a product reports, to tell builds of it apart.
_IDENTITY = re.compile(r"(\+(snap\.[0-9]+|sideload\.[0-9a-f]+|rehearsal))+$")


class Expectation(StrEnum):
    """What an issue's ranges say of a build."""

    AFFECTED = "affected"
    FIXED = "fixed"
    NOT_AFFECTED = "not-affected"
    UNKNOWN = "unknown"
    NOT_APPLICABLE = "not-applicable"


def parse_version(text: str) -> Version:
    """Return ``text`` as a Debian version.

    Raises ValueError, naming the text, where Debian policy 5.6.12 does not admit it.
    """
    if text.endswith("\n"):  # which python-debian lets through
        raise ValueError(f'version "{text.strip()}" ends with a line break; write it like 5.21.4')
    if not text[:1].isdigit():
        raise ValueError(f'version "{text}" does not begin with a digit; write it like 5.21.4')
    try:
        return Version(text)
    except ValueError:
        raise ValueError(
            f'version "{text}" is not a version Debian can order; write it like 5.21.4'
        ) from None


def upstream(version: str) -> str:
    """Return ``version`` without the packager's epoch and revision: ``5.0.2-5+deb12u6`` is 5.0.2."""
    return str(parse_version(version).upstream_version)


def is_before(version: str, bound: str) -> bool:
    """Say whether ``version`` sorts before ``bound`` in Debian's order.

    A bound without a packager's revision is a statement about upstream's version, so that
    ``7.0.2-3~bpo13+1`` is not before 7.0.2. What identifies a snap or a build of the user's is no part of a
    version: ``5.0.2+snap.24322`` is before 5.0.2+git20231211.
    """
    version = _IDENTITY.sub("", version)
    if parse_version(bound).debian_revision is None:
        return Version(upstream(version)) < Version(upstream(bound))
    return Version(version) < Version(bound)


class Build(BaseModel):
    """One installed version of a product, as read from the product itself.

    ``name`` is what a person asks for (``incus@7.0.2``); ``product`` and the full package
    ``version`` (or snap revision) are the identity. ``api_extensions`` is a count, ``schema``
    the version of the cluster database; both are None until an image was made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: str
    product: Product
    version: str
    track: str
    source: str
    api_extensions: int | None = None
    schema_version: int | None = Field(default=None, alias="schema")

    @field_validator("version")
    @classmethod
    def _ordered(cls, value: str) -> str:
        parse_version(value)
        return value

    @property
    def short(self) -> str:
        """The version as a person asks for it: that of ``incus@7.0.2`` is 7.0.2."""
        product, at, version = self.name.partition("@")
        return version if at and product == self.product and version else self.version

    @property
    def order(self) -> tuple[str, Version]:
        """Sort key: by product, then by Debian's version order."""
        return self.product, parse_version(self.version)


class Bound(BaseModel):
    """One end of a range, and how it is known.

    ``proof`` is ``run`` where a run showed it, ``code`` where it was only read upstream.
    ``claim`` keeps upstream's own statement where a run contradicted it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: str
    proof: Literal["run", "code"]
    claim: str | None = None

    @field_validator("version")
    @classmethod
    def _ordered(cls, value: str) -> str:
        parse_version(value)
        return value


class Range(BaseModel):
    """Which versions of one track of a product are affected.

    Affected from ``introduced`` (the track's beginning where absent) up to but not including
    ``fixed`` (for good where absent). ``affected = false`` says that the whole track is free of
    it, which then takes ``proof`` instead of bounds. Only such a range may leave ``track`` out: it
    is about every track of the product that has no range of its own. ``scenario`` names the test function that
    the range is about, where an issue has two faces; it takes precedence over one that names none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    product: Product
    track: str | None = None
    scenario: str | None = None
    affected: bool = True
    proof: Literal["run", "code"] | None = None
    introduced: Bound | None = None
    fixed: Bound | None = None

    @model_validator(mode="after")
    def _possible(self) -> Self:
        where = f"{self.product} {self.track}" if self.track else self.product
        if self.affected and self.track is None:
            raise ValueError(f"range {where}: names no track, which only affected = false may leave out")
        if not self.affected:
            if self.introduced or self.fixed:
                raise ValueError(
                    f"range {where}: affected = false leaves no room for introduced or fixed"
                )
            if self.proof is None:
                raise ValueError(f'range {where}: affected = false needs proof = "run" or "code"')
            return self
        if self.introduced is None and self.fixed is None and self.proof is None:
            raise ValueError(
                f"range {where}: without introduced and fixed the whole track is affected, "
                'which needs proof = "run" or "code"'
            )
        if self.introduced and self.fixed and not is_before(self.introduced.version, self.fixed.version):
            raise ValueError(
                f"range {where}: introduced {self.introduced.version} "
                f"is not before fixed {self.fixed.version}"
            )
        return self

    def undecided(self, version: str) -> Bound | None:
        """Return the bound that a build between two releases may be on either side of; None where there is none.

        A commit after a release may have what the next one brings: which it has, its version does not say.
        """
        if UNRELEASED not in version:
            return None
        following = _next_release(version)
        return next(
            (
                bound
                for bound in (self.introduced, self.fixed)
                if bound and is_before(version, bound.version) and not is_before(following, bound.version)
            ),
            None,
        )

    def expects(self, version: str) -> Expectation:
        """Return what this range says of ``version``, a version of the same track."""
        if not self.affected:
            return Expectation.NOT_AFFECTED
        if self.undecided(version):
            return Expectation.UNKNOWN
        if self.introduced and is_before(version, self.introduced.version):
            return Expectation.NOT_AFFECTED
        if self.fixed and not is_before(version, self.fixed.version):
            return Expectation.FIXED
        return Expectation.AFFECTED


def _next_release(version: str) -> str:
    """Return the release that is expected to follow ``version`` on its track."""
    *track, last = upstream(version).partition("+")[0].split(".")
    return ".".join([*track, str(int(last) + 1)])


def range_for(ranges: Iterable[Range], build: Build, scenario: str = "") -> Range | None:
    """Return which of ``ranges`` is about ``build``: that of its track, else that of its whole product.

    One that names the test function ``scenario``, by pytest's node id or its name alone, goes before one that
    names none.
    """
    test = scenario.partition("[")[0].rpartition("::")[2]
    of_product = {(entry.scenario, entry.track): entry for entry in ranges if entry.product == build.product}
    places = [(name, track) for name in (test, None) for track in (build.track, None)]
    return next((of_product[place] for place in places if place in of_product), None)
