"""The version that a program of the user's reports: it is asked in a container, never on this computer."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

from clusterproof.builds import parse_version
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host import upload
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import prefix
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates.container import Container
from clusterproof.lab.substrates.machine import CommandTimeoutError, Machine

# Seconds for printing a version, and for laying what is given over the base.
ANSWER = 60.0
UNPACK = 300.0

_ARCHIVE = "/root/sideloaded.tar"
# The base's own daemon may run by now, and a program that runs cannot be overwritten: tar removes what is in the
# place of a file before it writes that.
_LAY_OVER = f"tar --extract --file={_ARCHIVE} --directory=/ --no-same-owner && rm {_ARCHIVE} && ldconfig"


def ask(build: CatalogueBuild, image: RootfsImage, files: Mapping[str, Path], host: Host) -> str:
    """Return the version that the daemon of ``build`` reports in a container with ``files`` laid over ``image``.

    That is the image of the build's base, and ``files`` are by their places there, without the slash at the
    beginning. The container is like a member's, and is removed afterwards. Raises LabError, also where what is
    printed is not a version, and OSError.
    """
    fingerprint = upload.give(image.rootfs, image.metadata.read_bytes(), host)
    known = Image(build.installed(image.package_version), build.facts, image.digest, fingerprint)
    machine = Container(host, f"{prefix(host.run)}-ask", known)
    try:
        machine.create()
        machine.start()
        machine.write(_ARCHIVE, _archive(build, files))
        return _asked(build, machine)
    except CommandTimeoutError as error:
        raise LabError(f"{build.source.label}: it does not report its version: {error}") from error
    finally:
        machine.destroy()


def _archive(build: CatalogueBuild, files: Mapping[str, Path]) -> bytes:
    """Return ``files`` as a tar archive, links as links, with a daemon that can be run."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for place, file in files.items():
            entry = archive.gettarinfo(file, arcname=place)
            if place == build.facts.daemon.lstrip("/"):
                entry.mode = 0o755
            if entry.isreg():
                with file.open("rb") as opened:
                    archive.addfile(entry, opened)
            else:
                archive.addfile(entry)
    return content.getvalue()


def _asked(build: CatalogueBuild, machine: Machine) -> str:
    daemon = build.facts.daemon
    laid = machine.execute(["sh", "-c", _LAY_OVER], timeout=UNPACK)
    if not laid.ok:
        reason = " ".join(laid.stderr.split())[-300:]
        raise LabError(f"{build.source.label}: it cannot be laid over its base: {reason}")
    done = machine.execute([daemon, "--version"], timeout=ANSWER)
    said = " ".join(done.stdout.split())
    if not done.ok:
        reason = " ".join(done.stderr.split())[-300:] or said[:80] or "it printed nothing"
        lacks = "".join(f"; it lacks {library}" for library in _missing(daemon, machine))
        raise LabError(f"{build.source.label}: {daemon} --version ended with {done.rc}: {reason}{lacks}")
    version = said.partition(" ")[0]
    try:
        parse_version(version)
    except ValueError as error:
        raise LabError(
            f'{build.source.label}: {daemon} --version prints "{said[:80]}", which is not a version; '
            "is it the product's daemon?"
        ) from error
    return version


def _missing(daemon: str, machine: Machine) -> list[str]:
    """Return the libraries that ``daemon`` lacks there, of which the loader's own words name only the first."""
    lines = machine.execute(["ldd", daemon], timeout=ANSWER).stdout.splitlines()
    return [line.partition("=>")[0].strip() for line in lines if line.endswith("not found")]
