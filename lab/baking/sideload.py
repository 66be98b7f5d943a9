"""Sideloading: a build of the user's, in place of one of the catalogue's.

``incus@7.0.2=path/to/incusd`` is a daemon, ``incus@7.0.2=path/to/debs`` a folder of packages, and
``incus@7.0.2=path/to/tree`` a folder that is laid over the base's root file system. Their image is made at
once, as the name of the build depends on the version that it reports; a daemon is asked for it in a container of
the lab host. ``lxd=path/to/file.snap`` is a snap, which cloud-init installs on the lab host like those of the
store; until then its version is the file's. Its base and ``snapd`` are taken from files, too, where they lie
beside it.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal

from clusterproof.lab.baking import reported_version
from clusterproof.lab.builds import snap_files
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.catalogue import Catalogue
from clusterproof.lab.builds.sources import (
    Sideload,
    SideloadedDaemon,
    SideloadedPackages,
    SideloadedTree,
    SnapFile,
    tree_files,
)
from clusterproof.lab.core.architecture import debian_architecture
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.host import sweeping
from clusterproof.lab.images import making, rootfs
from clusterproof.lab.images.logged_commands import Progress
from clusterproof.lab.images.rootfs import RootfsImage

FORM = (
    "write it like incus@7.0.2=path/to/incusd, incus@7.0.2=path/to/folder-of-debs, "
    "incus@7.0.2=path/to/folder-laid-over-it or lxd=path/to/file.snap"
)
_SOURCES: dict[str, type[Sideload]] = {
    "daemon": SideloadedDaemon,
    "packages": SideloadedPackages,
    "tree": SideloadedTree,
}
_ELF = b"\x7fELF"
_SQUASHFS = b"hsqs"
# The image of lab/cloud-init/images.toml for a snap that has all of these beside it.
OFFLINE_IMAGE = "debian-trixie"


def add(
    wanted: Sequence[str],
    known: Catalogue,
    into: Path,
    progress: Progress,
    mirror: str | None = None,
    lab_host: str | None = None,
) -> tuple[Catalogue, list[CatalogueBuild]]:
    """Return ``known`` with the builds that ``wanted`` gives, and these; their images are in ``into``.

    Raises UsageError for what cannot be one, LabError where an image cannot be made.
    """
    found = [_made(read(text, known), into, progress, mirror, lab_host) for text in wanted]
    return known.with_builds(found), found


def _made(
    build: CatalogueBuild, into: Path, progress: Progress, mirror: str | None, lab_host: str | None
) -> CatalogueBuild:
    """Return the build by the version of its image, made where it is missing; a snap waits for the lab host."""
    if build.source.first_boot:
        return build

    def ask(image: RootfsImage, files: Mapping[str, Path]) -> str:
        with sweeping.borrowed(lab_host) as host:
            return reported_version.ask(build, image, files, host)

    image = rootfs.find(build, into) or making.make(build, into, progress, mirror, ask=ask)
    return build.found(image.package_version)


def listed(wanted: Iterable[str], known: Catalogue, into: Path) -> list[CatalogueBuild]:
    """Return the builds that ``wanted`` gives without making anything: where there is an image, by its version.

    Raises UsageError.
    """
    builds = [read(text, known) for text in wanted]
    images = [(build, rootfs.find(build, into)) for build in builds]
    return [build.found(image.package_version) if image else build for build, image in images]


def read(text: str, known: Catalogue) -> CatalogueBuild:
    """Return the build that ``text`` gives; until it was installed it has the version of its base or file.

    Raises UsageError.
    """
    name, separator, place = text.partition("=")
    if not separator or not name or not place:
        raise UsageError(f'--sideload "{text}" does not say what replaces which build; {FORM}')
    path = Path(place).expanduser().absolute()
    try:
        form = _form(path)
        if form == "snap":
            return _snap(name, path, known)
        base = known.get(name)
        digest = _digest(path)
    except OSError as error:
        raise UsageError(
            f'--sideload {name}={place}: "{error.filename}": {error.strerror}; {FORM}'
        ) from error
    if not base.source.suites:
        raise UsageError(f"--sideload: {name} is not from Debian's archive; name a build that is as the base")
    source = _SOURCES[form](base, path, digest)
    if form == "packages":
        _check_packages(base, source)
    if form == "tree" and not (path / base.facts.daemon.lstrip("/")).is_file():
        raise UsageError(
            f"--sideload: the folder {path} has neither *.deb nor {base.facts.daemon.lstrip('/')}, "
            f"the daemon of {base.product}; {FORM}"
        )
    build = CatalogueBuild(base.facts, base.version, base.track, source)
    return build.found(build.identity(base.version))


def _form(path: Path) -> Literal["daemon", "packages", "tree", "snap"]:
    """Say what is at ``path``, by what is in it. Raises UsageError, OSError."""
    if path.is_dir():
        return "packages" if list(path.glob("*.deb")) else "tree"
    with path.open("rb") as file:
        begin = file.read(len(_ELF))
    if begin == _ELF:
        return "daemon"
    if begin == _SQUASHFS:
        return "snap"
    raise UsageError(f"--sideload: {path} is not a program (ELF), a snap or a folder of *.deb; {FORM}")


def _snap(name: str, path: Path, known: Catalogue) -> CatalogueBuild:
    """Return the build that is the snap ``path`` of product ``name``. Raises UsageError, OSError, LabError."""
    facts = known.product(name)
    boots = [(build, build.source.first_boot) for build in known.builds if build.product == facts.name]
    snaps = [(build, boot) for build, boot in boots if boot and boot.snap_name]
    if not snaps:
        raise UsageError(f"--sideload: {name} is not packaged as a snap; {FORM}")
    channel, boot = snaps[0]
    try:
        said = snap_files.described(path)
    except LabError as error:
        raise UsageError(f"--sideload: {error}") from error
    if said.get("name") != boot.snap_name:
        raise UsageError(f'--sideload: {path} is the snap "{said.get("name")}" and not {boot.snap_name}')
    architectures = said.get("architectures", ["all"])
    if not {"all", debian_architecture()} & {str(one) for one in _listed(architectures)}:
        made_for = ", ".join(map(str, _listed(architectures)))
        raise UsageError(f"--sideload: {path} is for {made_for}, and this computer is {debian_architecture()}")
    beside = tuple((file, _digest(file)) for file in snap_files.beside(path))
    # The version of a development snap is the name of its commit, which cannot be ordered.
    version = re.match(r"\d+(\.\d+)*", str(said.get("version", "")))
    # With all that it needs beside it no store is asked, and neither is another image server.
    image = OFFLINE_IMAGE if len(beside) == len(snap_files.NEEDED) else boot.image
    source = SnapFile(image, boot.snap_name, path, _digest(path), beside)
    build = CatalogueBuild(channel.facts, facts.guess("latest"), "", source)
    return build.found(build.identity(version[0] if version else build.version))


def _listed(value: object) -> list[object]:
    return value if isinstance(value, list) else [value]


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or that of sorted lines about what is in a folder.

    They are the SHA-256 sums of its packages; where it has none, ``sha256sum``'s lines about its files, with the
    target in place of the sum of a link. Raises OSError.
    """
    if not path.is_dir():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    lines = [_digest(file) for file in path.glob("*.deb")] or [
        f"{file.readlink() if file.is_symlink() else _digest(file)}  ./{file.relative_to(path)}"
        for file in tree_files(path)
    ]
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _check_packages(base: CatalogueBuild, source: Sideload) -> None:
    """Make sure that the product is among the packages. Raises UsageError, LabError."""
    names = [_package(file) for file in source.files]
    wanted = base.facts.packages
    if not set(names) & set(wanted):
        raise UsageError(
            f"--sideload: the packages in {source.path} are {', '.join(names)}, and none of "
            f"{', '.join(wanted)}, which {base.product} is installed from"
        )


def _package(file: Path) -> str:
    try:
        done = subprocess.run(
            ["dpkg-deb", "--field", str(file), "Package"],
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )
    except OSError as error:
        raise LabError("reading packages needs dpkg-deb; install the package dpkg") from error
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["it is damaged"])[-1]
        raise UsageError(f"--sideload: {file} is not a package: {reason}")
    return done.stdout.strip()
