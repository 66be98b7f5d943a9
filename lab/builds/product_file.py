"""The files of ``lab/products``, one for each product: its facts, and the builds that it has."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from clusterproof.builds import parse_version
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.product import FEATURE, Data, ProductFacts, Units
from clusterproof.lab.builds.sources import AptChannel, DebianSuite, RehearsalSnap, SnapChannel
from clusterproof.lab.core.errors import UsageError


class Layout(Data):
    """What differs from the product's own facts where a build is packaged in another way."""

    name: str = Field(min_length=1)
    packaged: Literal["package", "snap"] | None = None
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


class BuildEntry(Data):
    """A build whose version and track the file states."""

    version: str
    track: str
    source: DebianSuite

    @field_validator("version")
    @classmethod
    def _ordered(cls, value: str) -> str:
        parse_version(value)
        return value


class Channels(Data):
    """Channels of one source: each name is a way to find a build.

    ``layout`` names one of the product's layouts.
    """

    names: tuple[str, ...] = Field(min_length=1)
    layout: str = ""
    source: Annotated[SnapChannel | AptChannel, Field(discriminator="kind")]


class Rehearsals(Data):
    """Snaps that are made of builds of the file, ``of`` these versions, and installed in ``image``.

    ``layout`` names one of the product's layouts, ``snap`` is the snap's name.
    """

    of: tuple[str, ...] = Field(min_length=1)
    layout: str
    image: str
    snap: str


class ProductFile(ProductFacts):
    """A whole file."""

    builds: tuple[BuildEntry, ...] = ()
    layouts: tuple[Layout, ...] = ()
    channels: tuple[Channels, ...] = ()
    rehearsals: tuple[Rehearsals, ...] = ()

    def facts(self, layout: str = "") -> ProductFacts:
        """Return the facts of the product as ``layout`` packages it; without one, as the file begins."""
        own = {name: getattr(self, name) for name in ProductFacts.model_fields}
        changes = {
            key: value
            for one in self.layouts
            if one.name == layout
            for key, value in one
            if value is not None and key != "name"
        }
        return ProductFacts.model_validate(own | changes)

    def catalogue_builds(self) -> Iterator[CatalogueBuild]:
        """Yield the builds and channels of the file."""
        facts = self.facts()
        packaged = {
            one.version: CatalogueBuild(facts, one.version, one.track, one.source) for one in self.builds
        }
        yield from packaged.values()
        for rehearsed in self.rehearsals:
            for build in (packaged[version] for version in rehearsed.of):
                source = RehearsalSnap(rehearsed.image, rehearsed.snap, build)
                yield CatalogueBuild(self.facts(rehearsed.layout), build.version, build.track, source)
        for channels in self.channels:
            laid_out = self.facts(channels.layout)
            for name in channels.names:
                version = facts.guess(name)
                yield CatalogueBuild(laid_out, version, facts.track_of(version), channels.source.of(name))

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
        layouts = [layout.name for layout in self.layouts]
        for kind, wanted in (
            *(("channels", one.layout) for one in self.channels if one.layout),
            *(("rehearsals", one.layout) for one in self.rehearsals),
        ):
            if wanted not in layouts:
                known = ", ".join(layouts) or "none"
                raise ValueError(f'{kind} have layout "{wanted}", which is none of {known}')
        for version in (version for one in self.rehearsals for version in one.of):
            if version not in versions:
                known = ", ".join(versions) or "none"
                raise ValueError(f"rehearsals are of build {version}, which is none of {known}")
        if FEATURE not in tracks:
            raise ValueError(f'there is no track "{FEATURE}"; it has the releases that no other track has')
        return self


def read(file: Path) -> ProductFile:
    """Read the file of a product. Raises UsageError that names file, key and value."""
    try:
        return ProductFile.model_validate(tomllib.loads(file.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{short(file)} is not TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{short(file)} cannot be read: {error}") from None
    except ValidationError as error:
        raise UsageError(f"{short(file)}: {explain(error)}") from None


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


def short(path: Path) -> str:
    """Return ``path`` as the repository has it, where it lies there."""
    root = Path(__file__).parents[2]
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
