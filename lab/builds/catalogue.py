"""The catalogue: which products there are, what they look like from outside, and their builds.

Read from ``lab/products/*.toml``, one file per product.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal, Self

from debian.debian_support import Version
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from clusterproof.builds import Build, Product, parse_version, upstream
from clusterproof.lab.core.errors import UsageError

PRODUCTS = Path(__file__).parents[1] / "products"
# The track of releases that are in no maintained line.
FEATURE = "feature"
LIST_THEM = "list them with clusterproof builds"


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


class Package(_Data):
    """An apt source of its own for cloud-init.

    ``uri`` is empty for this machine's own Debian archive, ``suite`` for that of the image's release. ``key`` is
    where the source's key is, ``fingerprint`` what it must have.
    """

    uri: str = ""
    suite: str = Field(default="", pattern=r"^[a-z0-9./-]*$")
    key: str = Field(default="", pattern=r"^(https://\S+)?$")
    fingerprint: str = Field(default="", pattern=r"^([0-9A-F]{40})?$")
    pin: Pin | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if bool(self.key) != bool(self.fingerprint):
            raise ValueError("key and fingerprint go together: a key is taken for its fingerprint alone")
        if self.uri and not self.key:
            raise ValueError(f'uri "{self.uri}" needs key and fingerprint')
        return self


class CloudInit(_Data):
    """A build that cloud-init installs in an image of others: a snap, or packages of an apt source.

    ``image`` is one of ``lab/cloud-init/images.toml``. A snap comes in the revision that the channel had when
    the run began; ``revision`` is 0 until then. One that is a ``file`` of somebody's own goes by its sha256.
    """

    kind: Literal["cloud-init"]
    image: str
    snap: str = ""
    channel: str = ""
    revision: int = 0
    file: str = ""
    apt: Package | None = None

    @property
    def label(self) -> str:
        """The source in a few words, for tables and records."""
        if self.file:
            return f"snap of one's own on {self.image}"
        if self.snap:
            return f"snap {self.channel}" + (f" revision {self.revision}" if self.revision else "")
        assert self.apt
        return f"apt {self.apt.uri or 'debian'} {self.apt.suite}".rstrip() + f" on {self.image}"

    @model_validator(mode="after")
    def _one(self) -> Self:
        if bool(self.snap) == (self.apt is not None):
            raise ValueError("cloud-init installs a snap or from apt: give one of them")
        return self


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


class Layout(_Data):
    """What differs from the product's own facts where a build is packaged in another way."""

    name: str = Field(min_length=1)
    client: str | None = None
    admin: tuple[str, ...] | None = None
    daemon: str | None = None
    state_dir: str | None = None
    log_dir: str | None = None
    run_dir: str | None = None
    socket: str | None = None
    patch_file: str | None = None
    packages: tuple[str, ...] | None = None
    vm_packages: tuple[str, ...] | None = None
    units: Units | None = None


class Channels(_Data):
    """Channels of one source: each name is a way to find a build, which the installed product then is.

    ``layout`` names one of the product's layouts.
    """

    names: tuple[str, ...] = Field(min_length=1)
    layout: str = ""
    source: CloudInit


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
    layouts: tuple[Layout, ...] = ()
    channels: tuple[Channels, ...] = ()

    def laid_out(self, layout: str) -> ProductFacts:
        """Return the facts of the product where it is packaged in the way ``layout``; of its own for none."""
        changes = {
            key: value
            for one in self.layouts
            if one.name == layout
            for key, value in one
            if value is not None and key != "name"
        }
        return self.model_copy(update=changes)

    def guess(self, channel: str) -> str:
        """Return a version to sort ``channel`` by until it was installed: its own, else the newest track's."""
        found = re.search(r"\d+(\.\d+)*", channel)
        if found:
            return found[0]
        return max((t.name for t in self.tracks if t.name != FEATURE), key=parse_version)

    def track_of(self, version: str) -> str:
        """Return the track of ``version``: the one whose name it begins with, else the feature releases."""
        parts = upstream(version).partition("+")[0].split(".")
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
        for channels in self.channels:
            layouts = [layout.name for layout in self.layouts]
            if channels.layout and channels.layout not in layouts:
                known = ", ".join(layouts) or "none"
                raise ValueError(f'channels have layout "{channels.layout}", which is none of {known}')
        if FEATURE not in tracks:
            raise ValueError(f'there is no track "{FEATURE}"; it has the releases that no other track has')
        return self


@dataclass(frozen=True)
class CatalogueBuild:
    """A build that can be asked for by ``name`` (``incus@7.0.2``), and the facts of its product."""

    facts: ProductFacts
    version: str
    track: str
    source: Source | CloudInit | Overlay | Standing

    @property
    def product(self) -> Product:
        """The name of the product."""
        return self.facts.name

    @property
    def name(self) -> str:
        """What a person asks for; the installed version is known once an image was made."""
        return f"{self.product}@{self.asked}"

    @property
    def asked(self) -> str:
        """The name without the product: a version, or a channel."""
        return self.version

    @property
    def by_itself(self) -> bool:
        """Whether it is among the builds of a run that names none."""
        return not isinstance(self.source, CloudInit)

    @property
    def packaging(self) -> tuple[str, str]:
        """What two builds have in common that one can be changed into the other: product and state's folder."""
        return self.product, self.facts.state_dir

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
class ChannelBuild(CatalogueBuild):
    """A build that is found through a channel; what it is shows when it was installed."""

    source: CloudInit
    channel: str

    @property
    def asked(self) -> str:
        """The name without the product: the channel."""
        return self.channel

    def installed(
        self, version: str, api_extensions: int | None = None, schema: int | None = None
    ) -> Build:
        """Return the build as it was found installed, in the track of its version."""
        build = super().installed(version, api_extensions, schema)
        return build.model_copy(update={"track": self.facts.track_of(version)})

    def resolved(self, revision: int) -> Self:
        """Return the build with the revision that its channel has now."""
        return replace(self, source=self.source.model_copy(update={"revision": revision}))


@dataclass(frozen=True)
class SnapFile(ChannelBuild):
    """A snap of somebody's own, the file at ``path``; until it was installed it goes by what the file says."""

    path: Path

    @property
    def asked(self) -> str:
        """The name without the product: the version, with the digest of the file."""
        return self.version

    def identity(self, reported: str) -> str:
        """Return the version of this build where its product says that it is ``reported``."""
        return sideloaded(reported, self.source.file)


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
        return sideloaded(reported, self.source.digest)

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

    def replaced(self, builds: Iterable[CatalogueBuild]) -> Catalogue:
        """Return the catalogue with ``builds`` in place of those that go by their names."""
        new = {build.name: build for build in builds}
        return Catalogue(self.products, tuple(new.get(build.name, build) for build in self.builds))

    def select(self, wanted: Iterable[str] = ()) -> list[CatalogueBuild]:
        """Return the builds named by ``wanted`` in the catalogue's order, each once; all for none.

        A name is a build's (``incus@7.0.2``) or a product's (``incus``, all its builds). Channels are
        among neither all nor a product's: they are asked for by their own name.
        Raises UsageError for a name that is neither.
        """
        names = {name.strip() for name in wanted}
        for name in sorted(names):
            if not self._named(name):
                raise UsageError(self._unknown(name))
        return [
            build
            for build in self.builds
            if build.name in names or (build.by_itself and (not names or build.product in names))
        ]

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
        by_packaging = sorted(self.builds, key=lambda build: build.packaging)
        return [(old, new) for old, new in pairwise(by_packaging) if old.packaging == new.packaging]

    def _named(self, name: str) -> bool:
        return any(name in (build.name, build.product) for build in self.builds)

    def _unknown(self, name: str) -> str:
        nearest = self._nearest(name)
        hint = f" (nearest: {nearest})" if nearest else ""
        return f'build "{name}" is not in lab/products{hint}; {LIST_THEM}'

    def _nearest(self, name: str) -> str | None:
        product, _, version = name.partition("@")
        if "/" in version:
            return self._alike(name)
        same = [build for build in self.builds if build.product == product and build.by_itself]
        if same:
            try:
                asked = parse_version(version)
            except ValueError:
                return same[-1].name
            below = [build for build in same if parse_version(build.version) <= asked]
            return (below[-1] if below else same[0]).name
        return self._alike(name)

    def _alike(self, name: str) -> str | None:
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
    builds: list[CatalogueBuild] = [
        CatalogueBuild(facts=facts, version=entry.version, track=entry.track, source=entry.source)
        for facts in products.values()
        for entry in facts.builds
    ]
    builds += [
        _channel(facts, channels, name)
        for facts in products.values()
        for channels in facts.channels
        for name in channels.names
    ]
    builds.sort(key=_order)
    return Catalogue(tuple(sorted(products.values(), key=lambda facts: facts.name)), tuple(builds))


def _channel(facts: ProductFacts, channels: Channels, name: str) -> ChannelBuild:
    laid_out = facts.laid_out(channels.layout)
    version = facts.guess(name)
    source = channels.source
    if source.snap:
        source = source.model_copy(update={"channel": name})
    return ChannelBuild(laid_out, version, facts.track_of(version), source, name)


def sideloaded(reported: str, digest: str) -> str:
    """Return the identity of a build of somebody's own: its version and the first digits of its sha256."""
    return f"{reported}+sideload.{digest[:12]}"


def _order(build: CatalogueBuild) -> tuple[str, Version, str]:
    return build.product, parse_version(build.version), build.asked


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
    root = Path(__file__).parents[2]
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
