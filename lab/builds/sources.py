"""The sources that builds come from: suites, channels, files of the user's, an existing cluster."""

from __future__ import annotations

import shlex
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from clusterproof.lab.builds.build import Ask, CatalogueBuild, Filler, FindRevision, FirstBoot, Source
from clusterproof.lab.builds.product import Data
from clusterproof.lab.core.errors import LabError

# The risks of a snap's track, the safest first.
RISKS = ("stable", "candidate", "beta", "edge")
# Where the user's snap is put for the installation, which waits for it.
SNAP_FILE = "/root/clusterproof.snap"
DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
KEYRING = "/etc/apt/keyrings/clusterproof.asc"


class Pin(Data):
    """Which packages come from a suite that apt would not choose by itself.

    ``release`` is apt's own selector (``n=trixie-backports``), ``packages`` are globs.
    """

    release: str = Field(pattern=r"^[acnolv]=\S+$")
    packages: tuple[str, ...] = Field(min_length=1)


class _Table(Data):
    """A source that a product's file describes."""

    @property
    def recipe(self) -> dict[str, object]:
        """The source as plain data."""
        return self.model_dump(mode="json")


class DebianSuite(_Table, Source):
    """A suite of Debian's archive, if need be over a base suite."""

    stated: ClassVar[bool] = True

    kind: Literal["debian"]
    suite: str = Field(pattern=r"^[a-z][a-z0-9-]*$")
    base: str = Field(default="", pattern=r"^([a-z][a-z0-9-]*)?$")
    pin: Pin | None = None

    @property
    def label(self) -> str:
        """The source in a few words: ``debian trixie-backports``."""
        return f"{self.kind} {self.suite}"

    @property
    def suites(self) -> tuple[str, ...]:
        """The suites to read packages from, the base first."""
        return (self.base, self.suite) if self.base else (self.suite,)

    @property
    def pinned(self) -> tuple[str, ...]:
        """The pin as words."""
        return (self.pin.release, *self.pin.packages) if self.pin else ()

    def fill(self, build: CatalogueBuild, filler: Filler) -> str:
        """Install ``build`` from the suite."""
        return filler.install(build)


class _Channel(_Table, FirstBoot):
    """A way to find a build: which version that is shows when it was installed."""

    image: str
    channel: str = ""

    def of(self, channel: str) -> Self:
        """Return the channel of this name."""
        return self.model_copy(update={"channel": channel})

    def asked(self, version: str) -> str:  # noqa: ARG002 - a channel has a build of any version
        """Return the channel."""
        return self.channel


class SnapChannel(_Channel):
    """A channel of a snap, in the revision that it had when the run began; ``revision`` is 0 until then."""

    takes_revision: ClassVar[bool] = True
    template: ClassVar[str] = "install-snap.yaml"

    kind: Literal["snap"]
    snap: str = Field(pattern=r"^[a-z0-9-]+$")
    revision: int = 0

    @property
    def label(self) -> str:
        """The source in a few words: ``snap 5.21/edge revision 33110``."""
        return f"snap {self.channel}" + (f" revision {self.revision}" if self.revision else "")

    def resolved(self, find: FindRevision) -> Self:
        """Return the source with the revision that the channel has now, unless it has one. Raises LabError."""
        revision = self.revision or find(self.snap, self.channel)
        return self.model_copy(update={"revision": revision})

    @property
    def snap_revision(self) -> tuple[str, int] | None:
        """The name and revision of the snap, once the channel was resolved."""
        return (self.snap, self.revision) if self.revision else None

    @property
    def risk(self) -> int:
        """The rank of the channel, 0 for stable."""
        return RISKS.index(self.channel.rpartition("/")[2])

    @property
    def version_suffix(self) -> str:
        """The revision, which is a snap's identity."""
        return f"+snap.{self.revision}" if self.revision else ""

    @property
    def snap_name(self) -> str:
        """The name of the snap."""
        return self.snap

    def values(
        self, build: CatalogueBuild, packages: Sequence[str], archive: str | None  # noqa: ARG002
    ) -> dict[str, object]:
        """Return what the template takes: a snap has neither packages nor an archive."""
        return {"snap": self.snap, "channel": self.channel, "revision": self.revision, "file": ""}

    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the version that the product reports, with the revision."""
        installed = ask(f"snap list {shlex.quote(self.snap)}").splitlines()[1].split()[2]
        if installed != str(self.revision):
            raise LabError(f"{build.name}: revision {installed} was installed, not {self.revision}")
        return _reported(build, ask) + self.version_suffix


class AptChannel(_Channel):
    """An apt source beside those of the image.

    ``uri`` is empty for Debian's archive, ``suite`` for that of the image's release. ``key`` is where the
    source's key is, ``fingerprint`` what it must have.
    """

    template: ClassVar[str] = "install-apt.yaml"

    kind: Literal["apt"]
    uri: str = Field(default="", pattern=r"^(https?://\S+)?$")
    suite: str = Field(default="", pattern=r"^[a-z0-9./-]*$")
    key: str = Field(default="", pattern=r"^(https://\S+)?$")
    fingerprint: str = Field(default="", pattern=r"^([0-9A-F]{40})?$")
    pin: Pin | None = None

    @model_validator(mode="after")
    def _checked(self) -> Self:
        if bool(self.key) != bool(self.fingerprint):
            raise ValueError("give key and fingerprint together: only the key with that fingerprint is trusted")
        if self.uri and not self.key:
            raise ValueError(f'uri "{self.uri}" needs key and fingerprint')
        return self

    @property
    def label(self) -> str:
        """The source in a few words: ``apt debian trixie-backports on debian-trixie``."""
        return f"apt {self.uri or 'debian'} {self.suite}".rstrip() + f" on {self.image}"

    def values(self, build: CatalogueBuild, packages: Sequence[str], archive: str | None) -> dict[str, object]:
        """Return what the template takes. Raises LabError where Debian's address is needed and unknown."""
        uri = self.uri or archive
        if not uri:
            raise LabError(f"{build.name} needs the address of a Debian archive; give one with --mirror")
        return {
            "product": packages,
            "uri": uri,
            "suite": self.suite,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "keyring": KEYRING if self.key else DEBIAN_KEYRING,
            "pin": self.pin.release if self.pin else "",
            "pinned": " ".join(self.pin.packages) if self.pin else "",
        }

    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the version of the product's package."""
        query = ["dpkg-query", "--show", "--showformat=${Version}", build.facts.packages[0]]
        return ask(shlex.join(query)).strip()


@dataclass(frozen=True)
class SnapFile(FirstBoot):
    """The user's snap, the file at ``path``, identified by its SHA-256 ``digest``."""

    default: ClassVar[bool] = True
    template: ClassVar[str] = "install-snap.yaml"

    image: str
    snap: str
    path: Path
    digest: str

    @property
    def label(self) -> str:
        """The source in a few words: ``snap file on ubuntu-24-04``."""
        return f"snap file on {self.image}"

    @property
    def recipe(self) -> dict[str, object]:
        """The source as plain data: not where the file is, but what is in it."""
        return {"kind": "snap-file", "image": self.image, "snap": self.snap, "digest": self.digest}

    @property
    def version_suffix(self) -> str:
        """What the version of a snap file ends with."""
        return sideload_suffix(self.digest)

    @property
    def handed_over(self) -> Path:
        """The file."""
        return self.path

    @property
    def snap_name(self) -> str:
        """The name of the snap."""
        return self.snap

    def values(
        self, build: CatalogueBuild, packages: Sequence[str], archive: str | None  # noqa: ARG002
    ) -> dict[str, object]:
        """Return what the template takes: a snap has neither packages nor an archive."""
        return {"snap": self.snap, "channel": "", "revision": 0, "file": SNAP_FILE}

    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the version that the product reports, with the digest of the file."""
        return _reported(build, ask) + self.version_suffix


@dataclass(frozen=True)
class Sideload(Source):
    """Something of the user's at ``path``, in place of the original in ``base``, a build of the catalogue.

    It is identified by the version that it reports with its SHA-256 ``digest``.
    """

    form: ClassVar[str]

    base: CatalogueBuild
    path: Path
    digest: str

    @property
    def label(self) -> str:
        """The source in a few words: ``sideloaded daemon in incus@6.0.4``."""
        return f"sideloaded {self.form} in {self.base.name}"

    @property
    def recipe(self) -> dict[str, object]:
        """The source as plain data: not where the files are, but what is in them."""
        return {"kind": "sideload", "form": self.form, "base": self.base.name, "digest": self.digest}

    @property
    def base_build(self) -> CatalogueBuild:
        """The build of the catalogue."""
        return self.base

    @property
    def version_suffix(self) -> str:
        """What the version of a sideloaded build ends with."""
        return sideload_suffix(self.digest)

    @property
    @abstractmethod
    def files(self) -> list[Path]:
        """The user's files."""


class SideloadedDaemon(Sideload):
    """A daemon, which replaces the one of the base; all else stays, the client too."""

    form: ClassVar[str] = "daemon"

    @property
    def files(self) -> list[Path]:
        """The daemon alone."""
        return [self.path]

    def fill(self, build: CatalogueBuild, filler: Filler) -> str:
        """Put the daemon into the base; the version is the one it reports."""
        return build.identity(filler.lay_over(self.base, {self.base.facts.daemon.lstrip("/"): self.path}))


class SideloadedTree(Sideload):
    """A folder laid over the base: daemon, client, libraries, each where it stands in a member."""

    form: ClassVar[str] = "tree"

    @property
    def files(self) -> list[Path]:
        """The files and links of the folder, by path."""
        return tree_files(self.path)

    def fill(self, build: CatalogueBuild, filler: Filler) -> str:
        """Put the files into the base; the version is the one that its daemon reports."""
        placed = {str(file.relative_to(self.path)): file for file in self.files}
        return build.identity(filler.lay_over(self.base, placed))


class SideloadedPackages(Sideload):
    """A folder of packages, which replace those of the archive; what else they need comes from there."""

    form: ClassVar[str] = "packages"

    @property
    def files(self) -> list[Path]:
        """The packages in the folder."""
        return sorted(self.path.glob("*.deb"))

    def fill(self, build: CatalogueBuild, filler: Filler) -> str:
        """Install the base with these packages; the version is that of the product's package."""
        return build.identity(filler.install(self.base, self.files))


@dataclass(frozen=True)
class Existing(Source):
    """An existing cluster of the user's, on which nothing is installed: its servers have ``extensions``."""

    cluster: str
    extensions: int

    @property
    def label(self) -> str:
        """The source in a few words: ``existing cluster staging``."""
        return f"existing cluster {self.cluster}"

    @property
    def recipe(self) -> dict[str, object]:
        """The source as plain data."""
        return {"kind": "existing", "cluster": self.cluster}

    @property
    def api_extensions(self) -> int:
        """How many API extensions the cluster's servers report."""
        return self.extensions

    def fill(self, build: CatalogueBuild, filler: Filler) -> str:  # noqa: ARG002
        """Raise LabError: there is nothing to install."""
        raise LabError(f"{build.name} is what cluster {self.cluster} runs; no image is made of it")


def tree_files(folder: Path) -> list[Path]:
    """Return the files and links beneath ``folder``, by path. Raises OSError."""
    return sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())


def sideload_suffix(digest: str) -> str:
    """Return what the version of the user's build ends with: the first digits of its SHA-256."""
    return f"+sideload.{digest[:12]}"


def _reported(build: CatalogueBuild, ask: Ask) -> str:
    return ask(f"{build.facts.daemon} --version").split()[0]
