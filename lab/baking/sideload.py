"""Sideloading: a build of somebody's own, laid over one of the catalogue's.

``incus@7.0.2=path/to/incusd`` is a daemon, ``incus@7.0.2=path/to/debs`` a folder of packages. The image
is made as soon as the option is read: what the build is called depends on what it reports of itself.
``lxd=path/to/file.snap`` is a snap, which cloud-init installs on the lab host as it does those of the store;
until then it goes by the version that the file names.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import yaml

from clusterproof.lab.builds.catalogue import (
    Catalogue,
    CatalogueBuild,
    ChannelBuild,
    Overlay,
    SideloadedBuild,
    SnapFile,
    Source,
    sideloaded,
)
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.images import rootfs
from clusterproof.lab.images.rootfs import Progress

FORM = (
    "write it like incus@7.0.2=path/to/incusd, incus@7.0.2=path/to/folder-of-debs or lxd=path/to/file.snap"
)
_ELF = b"\x7fELF"
_SQUASHFS = b"hsqs"


def add(
    wanted: Sequence[str], known: Catalogue, into: Path, progress: Progress, mirror: str | None = None
) -> tuple[Catalogue, list[CatalogueBuild]]:
    """Return ``known`` with the builds that ``wanted`` gives, and these; their images are in ``into``.

    Raises UsageError for what cannot be one, LabError where an image cannot be made.
    """
    given = [read(text, known) for text in wanted]
    found: list[CatalogueBuild] = []
    for build in given:
        if isinstance(build, SnapFile):
            found.append(build)
            continue
        image = rootfs.find(build, into) or rootfs.make(build, into, progress, mirror)
        found.append(build.found(image.package_version))
    return known.with_builds(found), found


def read(text: str, known: Catalogue) -> SideloadedBuild | SnapFile:
    """Return the build that ``text`` gives, which until it was installed goes by its base's or file's version.

    Raises UsageError.
    """
    name, separator, place = text.partition("=")
    if not separator or not name or not place:
        raise UsageError(f'--sideload "{text}" does not say what is laid over which build; {FORM}')
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
    if not isinstance(base.source, Source):
        raise UsageError(f"--sideload: {name} is no build from Debian's archive; name one of those as the base")
    source = Overlay(form=form, base=base.name, digest=digest)
    build = SideloadedBuild(base.facts, base.version, base.track, source, base, path)
    if form == "packages":
        _check_packages(build)
    return build


def _form(path: Path) -> Literal["daemon", "packages", "snap"]:
    """Say what is at ``path``, by what is in it. Raises UsageError, OSError."""
    if path.is_dir():
        if not list(path.glob("*.deb")):
            raise UsageError(f"--sideload: no *.deb in the folder {path}; {FORM}")
        return "packages"
    with path.open("rb") as file:
        begin = file.read(len(_ELF))
    if begin == _ELF:
        return "daemon"
    if begin == _SQUASHFS:
        return "snap"
    raise UsageError(f"--sideload: {path} is no program (ELF), no snap and no folder of *.deb; {FORM}")


def _snap(name: str, path: Path, known: Catalogue) -> SnapFile:
    """Return the build that is the snap ``path`` of product ``name``. Raises UsageError, OSError, LabError."""
    facts = known.product(name)
    channels = [
        build for build in known.builds if isinstance(build, ChannelBuild) and build.product == facts.name
    ]
    like = next((build for build in channels if build.source.snap), None)
    if like is None:
        raise UsageError(f"--sideload: {name} is not packaged as a snap; {FORM}")
    said = _described(path)
    if said.get("name") != like.source.snap:
        raise UsageError(f'--sideload: {path} is the snap "{said.get("name")}" and not {like.source.snap}')
    # A snap of the newest source is called after its commit, which is no version.
    version = re.match(r"\d+(\.\d+)*", str(said.get("version", "")))
    digest = _digest(path)
    guess = sideloaded(version[0] if version else facts.guess("latest"), digest)
    source = like.source.model_copy(update={"channel": "", "file": digest})
    return SnapFile(like.facts, guess, facts.track_of(guess), source, "", path)


def _described(path: Path) -> dict[str, object]:
    """Return what a snap says of itself. Raises UsageError, LabError."""
    try:
        done = subprocess.run(
            ["unsquashfs", "-cat", str(path), "meta/snap.yaml"], capture_output=True, check=False, timeout=60
        )
    except OSError as error:
        raise LabError("reading a snap needs unsquashfs; run lab/bootstrap") from error
    try:
        found = yaml.safe_load(done.stdout) if done.returncode == 0 else None
    except yaml.YAMLError:
        found = None
    if not isinstance(found, dict):
        raise UsageError(f"--sideload: {path} is no snap: it has no meta/snap.yaml that can be read")
    return found


def _digest(path: Path) -> str:
    """Return the sha256 of a file, or of the sorted ones of a folder's packages, whatever they are called."""
    if path.is_dir():
        digests = sorted(_digest(file) for file in path.glob("*.deb"))
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_packages(build: SideloadedBuild) -> None:
    """Make sure that the product is among the packages. Raises UsageError, LabError."""
    names = [_package(file) for file in build.files]
    wanted = build.facts.packages
    if not set(names) & set(wanted):
        raise UsageError(
            f"--sideload: the packages in {build.path} are {', '.join(names)}, and none of "
            f"{', '.join(wanted)}, which {build.product} is installed from"
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
        raise UsageError(f"--sideload: {file} is no package: {reason}")
    return done.stdout.strip()
