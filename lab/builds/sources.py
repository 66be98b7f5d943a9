"""The sources that builds come from: suites, channels, files of the user's, an existing cluster."""

from __future__ import annotations

import hashlib
import shlex
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from clusterproof.builds import UNRELEASED
from clusterproof.lab.builds import snap_files
from clusterproof.lab.builds.build import (
    Ask,
    CatalogueBuild,
    Filler,
    FindRevision,
    FirstBoot,
    MakeFiles,
    Source,
)
from clusterproof.lab.builds.product import Data
from clusterproof.lab.core.errors import LabError, UsageError

# The risks of a snap's track, the safest first.
RISKS = ("stable", "candidate", "beta", "edge")
# Those of an apt source's channels beside one with long-term support.
_APT_RISKS = {"stable": 1, "daily": 2}
# Where snaps that are files are put for the installation, which waits for the last of them.
SNAP_FILES = "/root/clusterproof-snaps"
# What rehearsal snaps are made of.
REHEARSAL = Path(__file__).parents[1] / "rehearsal"
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
    """A channel of a snap, in the revision that it had when the run began; ``revision`` is 0 until then.

    ``absent`` says why there is none.
    """

    takes_revision: ClassVar[bool] = True
    template: ClassVar[str] = "install-snap.yaml"

    kind: Literal["snap"]
    snap: str = Field(pattern=r"^[a-z0-9-]+$")
    revision: int = 0
    absent: str = Field(default="", exclude=True)

    @property
    def label(self) -> str:
        """The source in a few words: ``snap 5.21/edge revision 33110``."""
        return f"snap {self.channel}" + (f" revision {self.revision}" if self.revision else "")

    def resolved(self, find: FindRevision) -> Self:
        """Return the source with the revision that the channel has now, unless it has one, or why it has none.

        Raises UsageError for what is no channel.
        """
        try:
            return self.model_copy(update={"revision": self.revision or find(self.snap, self.channel)})
        except UsageError:
            raise
        except LabError as error:
            return self.model_copy(update={"absent": str(error)})

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

    def handed_over(self, make: MakeFiles) -> Sequence[Path]:  # noqa: ARG002 - they were downloaded
        """Return the files of the revision, where it need not be downloaded."""
        return snap_files.downloaded(self.snap, self.revision)

    def values(
        self, build: CatalogueBuild, packages: Sequence[str], archive: str | None  # noqa: ARG002
    ) -> dict[str, object]:
        """Return what the template takes: a snap has neither packages nor an archive. Raises LabError."""
        if not self.revision:
            raise LabError(f"{build.name} cannot be installed: {self.absent or 'its channel was not resolved'}")
        files = len(snap_files.downloaded(self.snap, self.revision))
        return {"snap": self.snap, "channel": self.channel, "revision": self.revision, "files": files}

    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the version that the product reports, with the revision."""
        stated, installed = _listed(ask, self.snap)
        # What snapd takes from a file has no revision of the store's.
        if installed != str(self.revision) and not snap_files.downloaded(self.snap, self.revision):
            raise LabError(f"{build.name}: revision {installed} was installed, not {self.revision}")
        return _of_snap(build, ask, stated) + self.version_suffix


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
    def risk(self) -> int:
        """The rank of the channel, 0 for one that is named neither for what is released nor for every day."""
        return _APT_RISKS.get(self.channel.rpartition("/")[2], 0)

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
    """The user's snap, the file at ``path``, identified by its SHA-256 ``digest``.

    ``beside`` are the snaps that it needs, each with its SHA-256, installed before it: its base, and ``snapd``.
    """

    default: ClassVar[bool] = True
    template: ClassVar[str] = "install-snap.yaml"

    image: str
    snap: str
    path: Path
    digest: str
    beside: tuple[tuple[Path, str], ...] = ()

    @property
    def label(self) -> str:
        """The source in a few words: ``snap file on ubuntu-24-04``."""
        return f"snap file on {self.image}"

    @property
    def recipe(self) -> dict[str, object]:
        """The source as plain data: not where the file is, but what is in it."""
        beside = [digest for _, digest in self.beside]
        digests = {"digest": self.digest, **({"beside": beside} if beside else {})}
        return {"kind": "snap-file", "image": self.image, "snap": self.snap, **digests}

    @property
    def version_suffix(self) -> str:
        """What the version of a snap file ends with."""
        return sideload_suffix(self.digest)

    def handed_over(self, make: MakeFiles) -> Sequence[Path]:  # noqa: ARG002 - they are the user's
        """Return the file, after those that it needs."""
        return (*(path for path, _ in self.beside), self.path)

    @property
    def snap_name(self) -> str:
        """The name of the snap."""
        return self.snap

    def values(
        self, build: CatalogueBuild, packages: Sequence[str], archive: str | None  # noqa: ARG002
    ) -> dict[str, object]:
        """Return what the template takes: a snap has neither packages nor an archive."""
        return {"snap": self.snap, "channel": "", "revision": 0, "files": 1 + len(self.beside)}

    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the version that the product reports, with the digest of the file."""
        return _of_snap(build, ask, _listed(ask, self.snap)[0]) + self.version_suffix


@dataclass(frozen=True)
class RehearsalSnap(FirstBoot):
    """A snap with what the build ``packages`` installs from Debian's archive, laid out as the real snap."""

    template: ClassVar[str] = "install-snap.yaml"

    image: str
    snap: str
    packages: CatalogueBuild

    def asked(self, version: str) -> str:  # noqa: ARG002 - which one it is, the packages say
        """Return the version of the packages, as that of a channel."""
        return f"rehearsal/{self.packages.asked}"

    @property
    def label(self) -> str:
        """The source in a few words: ``rehearsal snap of lxd@5.0.2``."""
        return f"rehearsal snap of {self.packages.name}"

    @property
    def recipe(self) -> dict[str, object]:
        """The source as plain data: with what is in the files that the snaps are made of."""
        files = {
            str(path.relative_to(REHEARSAL)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(REHEARSAL.rglob("*"))
            if path.is_file() and path.suffix != ".md"
        }
        return {"kind": "rehearsal", "image": self.image, "snap": self.snap, "files": files}

    @property
    def base_build(self) -> CatalogueBuild:
        """The build whose packages are in it."""
        return self.packages

    @property
    def version_suffix(self) -> str:
        """What tells it from the package of the same version."""
        return "+rehearsal"

    @property
    def snap_name(self) -> str:
        """The name of the snap."""
        return self.snap

    def handed_over(self, make: MakeFiles) -> Sequence[Path]:
        """Return the three snaps."""
        return make(self.packages)

    def values(
        self, build: CatalogueBuild, packages: Sequence[str], archive: str | None  # noqa: ARG002
    ) -> dict[str, object]:
        """Return what the template takes."""
        return {"snap": self.snap, "channel": "", "revision": 0, "files": 3}

    def installed_version(self, build: CatalogueBuild, ask: Ask) -> str:
        """Return the snap's version, which is the package's, once the product has said that it is that."""
        return _of_snap(build, ask, _listed(ask, self.snap)[0]) + self.version_suffix


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
    """Return the version that the product reports: the first word, as releases with long-term support say so."""
    return ask(shlex.join([*build.facts.admin, "--version"])).split()[0]


def _listed(ask: Ask, snap: str) -> tuple[str, str]:
    """Return the version and the revision of the installed ``snap``, as snapd has them."""
    _, version, revision, *_ = ask(f"snap list {shlex.quote(snap)}").splitlines()[1].split()
    return version, revision


def _of_snap(build: CatalogueBuild, ask: Ask, stated: str) -> str:
    """Return the version of an installed snap: what the product reports, and what the snap adds to that.

    ``stated`` is what snapd has as its version.

    A snap of a commit after a release has the commit's name (``git-3c5fda7``), while the product reports that
    release; ``UNRELEASED`` tells it from that.
    """
    reported = _reported(build, ask)
    if stated.startswith("git-"):
        return f"{reported}{UNRELEASED}{stated.removeprefix('git-')}"
    # Of stable snaps it ends with the commit of the packaging, which changes without the product.
    return stated if stated.startswith(f"{reported}+") else reported
