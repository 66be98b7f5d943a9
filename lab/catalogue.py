"""The catalogue: which products there are, what they look like from outside, and their builds.

Read from ``lab/products/*.toml``, one file per product.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from debian.debian_support import Version
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from builds import Build, Product, parse_version, upstream
from lab.errors import UsageError

PRODUCTS = Path(__file__).parent / "products"
# The track of releases that are in no maintained line.
FEATURE = "feature"
LIST_THEM = "list them with python -m lab builds"


class _Data(BaseModel):
    """A table of a product's file: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Pin(_Data):
    """Which packages come from a suite that apt would not choose by itself.

    ``release`` is apt's own selector (``n=trixie-backports``), ``packages`` are globs.
    """

    release: str = Field(pattern=r"^[acnolv]=\S+$")
    packages: tuple[str, ...] = Field(min_length=1)


class Source(_Data):
    """Where a build is installed from: a suite of Debian's archive, if need be over a base suite."""

    kind: Literal["debian"]
    suite: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    base: str = Field(default="", pattern=r"^([a-z][a-z0-9-]*)?$")
    pin: Pin | None = None

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites to read packages from, the base first."""
        return (self.base, self.suite) if self.base else (self.suite,)

    @property
    def label(self) -> str:
        """The source in one word or two, for tables and records: ``debian trixie-backports``."""
        return f"{self.kind} {self.suite}"


class Overlay(_Data):
    """A build of somebody's own, laid over another one: its daemon alone, or packages.

    ``digest`` is the sha256 of what was given.
    """

    kind: Literal["sideload"] = "sideload"
    form: Literal["daemon", "packages"]
    base: str
    digest: str

    @property
    def label(self) -> str:
        """The source in a few words, for tables and records."""
        return f"{self.form} of one's own over {self.base}"


class Standing(_Data):
    """Where the build of somebody's own cluster comes from: it was there already."""

    kind: Literal["own"] = "own"
    cluster: str

    @property
    def label(self) -> str:
        """The source in a few words, for tables and records."""
        return f"own cluster {self.cluster}"


class Units(_Data):
    """The systemd units of a product; ``startup`` starts the instances that were running."""

    service: str
    socket: str
    startup: str


class Track(_Data):
    """A maintained line of a product."""

    name: str = Field(min_length=1)
    about: str = Field(min_length=1)


class BuildEntry(_Data):
    """A build as its product's file has it."""

    version: str
    track: str
    source: Source

    @field_validator("version")
    @classmethod
    def _ordered(cls, value: str) -> str:
        parse_version(value)
        return value


class ProductFacts(_Data):
    """What a product is, seen from outside; every path is one inside a member.

    ``admin`` begins the command line of administration (``[*admin, "init", "--preseed"]``,
    ``[*admin, "sql", "global", query]``). ``bump_variable`` is an environment variable of the
    daemon: a signed number added to the count of its API extensions. ``patch_file`` is SQL that
    the daemon runs against the cluster database at its next start. The first of ``packages`` is
    the one whose version is the build's; a member that is a virtual machine has ``vm_packages``, too.
    """

    name: Product
    client: str
    admin: tuple[str, ...] = Field(min_length=1)
    daemon: str = Field(pattern="^/")
    state_dir: str = Field(pattern="^/")
    log_dir: str = Field(pattern="^/")
    run_dir: str = Field(pattern="^/")
    socket: str = Field(pattern="^/")
    patch_file: str = Field(pattern="^/")
    bump_variable: str = Field(pattern="^[A-Z_]+$")
    packages: tuple[str, ...] = Field(min_length=1)
    vm_packages: tuple[str, ...] = ()
    units: Units
    tracks: tuple[Track, ...] = Field(min_length=1)
    builds: tuple[BuildEntry, ...] = ()

    def track_of(self, version: str) -> str:
        """Return the track of ``version``: the one whose name it begins with, else the feature releases."""
        parts = upstream(version).split(".")
        for count in range(len(parts), 0, -1):
            name = ".".join(parts[:count])
            if any(track.name == name for track in self.tracks):
                return name
        return FEATURE

    @model_validator(mode="after")
    def _whole(self) -> Self:
        tracks = [track.name for track in self.tracks]
        versions = [build.version for build in self.builds]
        for kind, names in (("track", tracks), ("build", versions)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f'{kind} "{twice[0]}" stands there twice; keep one')
        for build in self.builds:
            if build.track not in tracks:
                raise ValueError(
                    f'build {build.version} has track "{build.track}", '
                    f"which is none of {', '.join(tracks)}"
                )
        if FEATURE not in tracks:
            raise ValueError(f'there is no track "{FEATURE}"; it has the releases that no other track has')
        return self


@dataclass(frozen=True)
class CatalogueBuild:
    """A build that can be asked for by ``name`` (``incus@7.0.2``), and the facts of its product."""

    facts: ProductFacts
    version: str
    track: str
    source: Source | Overlay | Standing

    @property
    def product(self) -> Product:
        """The name of the product."""
        return self.facts.name

    @property
    def name(self) -> str:
        """What a person asks for; the installed version is known once an image was made."""
        return f"{self.product}@{self.version}"

    def installed(
        self, version: str, api_extensions: int | None = None, schema: int | None = None
    ) -> Build:
        """Return the build as it was found installed: ``version`` is the whole package version."""
        return Build(
            name=self.name,
            product=self.product,
            version=version,
            track=self.track,
            source=self.source.label,
            api_extensions=api_extensions,
            schema_version=schema,
        )


@dataclass(frozen=True)
class SideloadedBuild(CatalogueBuild):
    """A build of somebody's own: the daemon at ``path``, or the packages in the folder, over ``base``.

    Its identity is the version that it reports of itself, with the digest of what was given.
    """

    source: Overlay
    base: CatalogueBuild
    path: Path

    @property
    def files(self) -> list[Path]:
        """The files that were given."""
        return sorted(self.path.glob("*.deb")) if self.path.is_dir() else [self.path]

    def identity(self, reported: str) -> str:
        """Return the version of this build where its product says that it is ``reported``."""
        return f"{reported}+sideload.{self.source.digest[:12]}"

    def found(self, version: str) -> Self:
        """Return the build as it was found to be: ``version`` is its identity."""
        return replace(self, version=version, track=self.facts.track_of(version))


@dataclass(frozen=True)
class Catalogue:
    """All products and builds: ``builds`` by product, then in Debian's version order."""

    products: tuple[ProductFacts, ...]
    builds: tuple[CatalogueBuild, ...]

    def with_builds(self, more: Iterable[CatalogueBuild]) -> Catalogue:
        """Return a catalogue that has ``more`` too. Raises UsageError where two go by one name."""
        builds = sorted([*self.builds, *more], key=_order)
        for one, other in pairwise(builds):
            if one.name == other.name:
                raise UsageError(
                    f"{one.name} is there twice: {one.source.label}, {other.source.label}; run one at a time"
                )
        return Catalogue(self.products, tuple(builds))

    def select(self, wanted: Iterable[str] = ()) -> list[CatalogueBuild]:
        """Return the builds named by ``wanted`` in the catalogue's order, each once; all for none.

        A name is a build's (``incus@7.0.2``) or a product's (``incus``, all its builds).
        Raises UsageError for a name that is neither.
        """
        names = {name.strip() for name in wanted}
        for name in sorted(names):
            if not self._named(name):
                raise UsageError(self._unknown(name))
        return [build for build in self.builds if not names or names & {build.name, build.product}]

    def get(self, name: str) -> CatalogueBuild:
        """Return the build called ``name``; UsageError where there is none."""
        for build in self.builds:
            if build.name == name:
                return build
        raise UsageError(self._unknown(name))

    def product(self, name: str) -> ProductFacts:
        """Return the facts of the product called ``name``; UsageError where there is none."""
        for facts in self.products:
            if facts.name == name:
                return facts
        known = ", ".join(facts.name for facts in self.products)
        raise UsageError(f'product "{name}" is not in lab/products (known: {known})')

    def pairs(self) -> list[tuple[CatalogueBuild, CatalogueBuild]]:
        """Return (older, newer) for builds next to each other in the same product."""
        return [(old, new) for old, new in pairwise(self.builds) if old.product == new.product]

    def _named(self, name: str) -> bool:
        return any(name in (build.name, build.product) for build in self.builds)

    def _unknown(self, name: str) -> str:
        nearest = self._nearest(name)
        hint = f" (nearest: {nearest})" if nearest else ""
        return f'build "{name}" is not in lab/products{hint}; {LIST_THEM}'

    def _nearest(self, name: str) -> str | None:
        product, _, version = name.partition("@")
        same = [build for build in self.builds if build.product == product]
        if same:
            try:
                asked = parse_version(version)
            except ValueError:
                return same[-1].name
            below = [build for build in same if parse_version(build.version) <= asked]
            return (below[-1] if below else same[0]).name
        names = [facts.name for facts in self.products] + [build.name for build in self.builds]
        close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
        return close[0] if close else None


def load(folder: Path = PRODUCTS) -> Catalogue:
    """Read every ``*.toml`` of ``folder``.

    Raises UsageError that names file, key and value of what cannot be used.
    """
    files = sorted(folder.glob("*.toml"))
    if not files:
        raise UsageError(
            f"no product in {_short(folder)}; it takes one TOML file for each, like incus.toml"
        )
    products: dict[str, ProductFacts] = {}
    for file in files:
        facts = _read(file)
        if facts.name in products:
            raise UsageError(
                f'{_short(file)}: name = "{facts.name}" is taken by another file; rename one'
            )
        products[facts.name] = facts
    builds = [
        CatalogueBuild(facts=facts, version=entry.version, track=entry.track, source=entry.source)
        for facts in products.values()
        for entry in facts.builds
    ]
    builds.sort(key=_order)
    return Catalogue(tuple(sorted(products.values(), key=lambda facts: facts.name)), tuple(builds))


def _order(build: CatalogueBuild) -> tuple[str, Version]:
    return build.product, parse_version(build.version)


def _read(file: Path) -> ProductFacts:
    try:
        return ProductFacts.model_validate(tomllib.loads(file.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{_short(file)} is not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{_short(file)} cannot be read: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{_short(file)}: {explain(error)}") from None


def explain(error: ValidationError) -> str:
    """Return a validation error as one line: every key, its value and what is wrong with it."""
    parts = []
    for item in error.errors():
        key = _key(item["loc"])
        what = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            parts.append(f"{key} = {item['input']!r}: no such key")
        elif item["type"] == "missing":
            parts.append(f"{key}: is missing")
        elif key:
            parts.append(f"{key} = {item['input']!r}: {what}")
        else:
            parts.append(what)
    return "; ".join(parts)


def _key(location: Sequence[str | int]) -> str:
    """Return a pydantic location as a TOML reader counts: ``builds[2].source.suite``, from 1."""
    text = ""
    for part in location:
        text += f"[{part + 1}]" if isinstance(part, int) else f".{part}"
    return text.removeprefix(".")


def _short(path: Path) -> str:
    """Return ``path`` as the repository has it, where it lies there."""
    root = Path(__file__).parent.parent
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
