"""Sideloading: a build of somebody's own, laid over one of the catalogue's.

``incus@7.0.2=path/to/incusd`` is a daemon, ``incus@7.0.2=path/to/debs`` a folder of packages. The image
is made as soon as the option is read: what the build is called depends on what it reports of itself.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from lab import rootfs
from lab.catalogue import Catalogue, CatalogueBuild, Overlay, SideloadedBuild, Source
from lab.errors import LabError, UsageError
from lab.rootfs import Progress

FORM = "write it like incus@7.0.2=path/to/incusd or incus@7.0.2=path/to/folder-of-debs"
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
        image = rootfs.find(build, into) or rootfs.make(build, into, progress, mirror)
        found.append(build.found(image.package_version))
    return known.with_builds(found), found


def read(text: str, known: Catalogue) -> SideloadedBuild:
    """Return the build that ``text`` gives, which goes by its base's version until it was installed.

    Raises UsageError.
    """
    name, separator, place = text.partition("=")
    if not separator or not name or not place:
        raise UsageError(f'--sideload "{text}" does not say what is laid over which build; {FORM}')
    path = Path(place).expanduser().absolute()
    try:
        form = _form(path)
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


def _form(path: Path) -> Literal["daemon", "packages"]:
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
        raise UsageError(f"--sideload: {path} is a snap, which is not laid over a build")
    raise UsageError(f"--sideload: {path} is neither a program (ELF) nor a folder of *.deb; {FORM}")


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
