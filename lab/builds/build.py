"""A build that can be asked for, and what its source decides.

Where builds differ, their sources do: the ones that there are stand in ``sources``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Protocol, Self

from clusterproof.builds import Build, Product
from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.core.errors import LabError

# Which revision the channel of a snap has: of (name of the snap, channel).
FindRevision = Callable[[str, str], int]
# Runs a shell command where a build is being installed and returns what it prints; raises LabError.
Ask = Callable[[str], str]


class Filler(Protocol):
    """What can fill the root file system of an image. Each method returns the installed version."""

    def install(self, build: CatalogueBuild, files: Sequence[Path] = ()) -> str:
        """Install ``build`` from the suites of its source; package ``files`` replace those of the suites."""

    def lay_over(self, base: CatalogueBuild, files: Mapping[str, Path]) -> str:
        """Take what ``base`` has, with ``files`` laid over it; its daemon reports the version.

        Their keys are paths in a member, relative to its root.
        """

    def first_boot(self) -> str:
        """Take what cloud-init has installed at the first boot of another image."""


class Source(ABC):
    """Where a build comes from, and what is particular to builds from there.

    ``default``: its builds run when no ``--build`` is given. ``stated``: the catalogue states version and track,
    which otherwise are those of what was found installed. ``takes_revision``: it is the channel of a snap, and
    ``--build lxd@5.21/edge=33110`` chooses a revision of it.
    """

    default: ClassVar[bool] = True
    stated: ClassVar[bool] = False
    takes_revision: ClassVar[bool] = False

    @property
    @abstractmethod
    def label(self) -> str:
        """The source in a few words, for tables and records."""

    @property
    @abstractmethod
    def recipe(self) -> dict[str, object]:
        """The source as plain data: what it adds to the recipe of an image."""

    @abstractmethod
    def fill(self, build: CatalogueBuild, filler: Filler) -> str:
        """Let ``filler`` install ``build``, which is from here; return its identity. Raises LabError."""

    def asked(self, version: str) -> str:
        """Return what follows ``PRODUCT@`` in the name of a build that has ``version``."""
        return version

    def resolved(self, find: FindRevision) -> Source:  # noqa: ARG002 - only a snap's channel has something to find
        """Return the source with its channel's revision of now, or why it has none. Raises UsageError."""
        return self

    @property
    def suites(self) -> tuple[str, ...]:
        """The Debian suites that mmdebstrap installs it from, the one of the members first; else none."""
        return ()

    @property
    def pinned(self) -> tuple[str, ...]:
        """Apt's selector of a release and the packages that come from it, where one is preferred."""
        return ()

    @property
    def base_build(self) -> CatalogueBuild | None:
        """The build of the catalogue that it is made of; else None."""
        return None

    @property
    def first_boot(self) -> FirstBoot | None:
        """How the first boot of an image installs it; None where it is installed otherwise."""
        return None

    @property
    def snap_revision(self) -> tuple[str, int] | None:
        """The name and revision of the snap that its channel was resolved to."""
        return None

    @property
    def risk(self) -> int:
        """The rank of a channel, 0 for the safest."""
        return 0

    @property
    def version_suffix(self) -> str:
        """What follows the version that the product reports, to identify the build."""
        return ""

    @property
    def api_extensions(self) -> int | None:
        """How many API extensions it has, where that is known before an image is made."""
        return None


# Makes the files to install from of another build's packages, and returns them; raises LabError.
MakeFiles = Callable[["CatalogueBuild"], Sequence[Path]]


class FirstBoot(Source):
    """A source from which cloud-init installs at the first boot of an image that others have made.

    ``image`` is one of ``lab/cloud-init/images.toml``, ``template`` the user-data in that folder.
    """

    default: ClassVar[bool] = False
    template: ClassVar[str]
    image: str

    @property
    def first_boot(self) -> FirstBoot:
        """How the first boot installs it."""
        return self

    @abstractmethod
    def values(self, build: CatalogueBuild, packages: Sequence[str], archive: str | None) -> dict[str, object]:
        """Return what the template takes: ``packages`` are the product's, ``archive`` is Debian's address.

        Raises LabError where the address is needed and unknown.
        """

    @abstractmethod
    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the identity of what was installed as ``build``. Raises LabError where it is something else."""

    def handed_over(self, make: MakeFiles) -> Sequence[Path]:  # noqa: ARG002 - most are on the network
        """Return the files that the installation waits for; ``make`` makes those that are nobody's yet.

        Raises LabError.
        """
        return ()

    @property
    def snap_name(self) -> str:
        """The name of the snap that is installed; empty where it is none."""
        return ""

    def fill(self, build: CatalogueBuild, filler: Filler) -> str:  # noqa: ARG002 - the filler's caller knows it
        """Take what the first boot has installed; return its identity. Raises LabError."""
        return filler.first_boot()


@dataclass(frozen=True)
class CatalogueBuild:
    """A build that can be asked for by ``name`` (``incus@7.0.2``): a product from a source.

    Until it was installed, ``version`` is the one that was asked for, or a guess to sort it by.
    """

    facts: ProductFacts
    version: str
    track: str
    source: Source

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
        return self.source.asked(self.version)

    @property
    def default(self) -> bool:
        """Whether it runs when no ``--build`` is given."""
        return self.source.default

    @property
    def first_boot(self) -> FirstBoot:
        """How the first boot of an image installs it. Raises LabError where it is installed otherwise."""
        found = self.source.first_boot
        if found is None:
            raise LabError(f"{self.name} is from {self.source.label}, and not installed by cloud-init")
        return found

    @property
    def packaging(self) -> tuple[str, str]:
        """What two builds share if one can be changed into the other: the product and its state folder."""
        return self.product, self.facts.state_dir

    def fill(self, filler: Filler) -> str:
        """Let ``filler`` install the build; return the version of what is installed. Raises LabError."""
        return self.source.fill(self, filler)

    def identity(self, reported: str) -> str:
        """Return the version of this build if its product reports ``reported``."""
        return f"{reported}{self.source.version_suffix}"

    def found(self, version: str) -> Self:
        """Return the build with ``version``, its identity, and the track of that."""
        return replace(self, version=version, track=self.facts.track_of(version))

    def resolved(self, find: FindRevision) -> Self:
        """Return the build with its channel's revision of now, or why it has none. Raises UsageError."""
        return replace(self, source=self.source.resolved(find))

    def installed(
        self, version: str, api_extensions: int | None = None, schema: int | None = None
    ) -> Build:
        """Return the build as it was found installed: ``version`` is the whole package version."""
        return Build(
            name=self.name,
            product=self.product,
            version=version,
            track=self.track if self.source.stated else self.facts.track_of(version),
            source=self.source.label,
            api_extensions=self.source.api_extensions if api_extensions is None else api_extensions,
            schema_version=schema,
        )
