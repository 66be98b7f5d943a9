"""The version that a program of the user's reports: it is asked in a container, never on this computer."""

from __future__ import annotations

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
from clusterproof.lab.substrates.machine import CommandTimeoutError, Result

# Seconds for printing a version.
ANSWER = 60.0


def ask(build: CatalogueBuild, image: RootfsImage, daemon: Path, host: Host) -> str:
    """Return the version that ``daemon``, the program of ``build``, reports in a container with ``image``.

    That is the image of the build's base. The container is like a member's, with the program beside the base's
    daemon, and is removed afterwards. Raises LabError, also where what is printed is not a version.
    """
    # The base's own daemon may run by now, and a program that runs cannot be overwritten.
    place = f"{build.facts.daemon}.sideloaded"
    fingerprint = upload.give(image.rootfs, image.metadata.read_bytes(), host)
    known = Image(build.installed(image.package_version), build.facts, image.digest, fingerprint)
    machine = Container(host, f"{prefix(host.run)}-ask", known)
    try:
        machine.create()
        machine.start()
        machine.write(place, daemon.read_bytes(), 0o755)
        done = machine.execute([place, "--version"], timeout=ANSWER)
    except CommandTimeoutError as error:
        raise LabError(f"{daemon} does not report its version: {error}") from error
    finally:
        machine.destroy()
    return _version(build, daemon, done)


def _version(build: CatalogueBuild, daemon: Path, done: Result) -> str:
    said = " ".join(done.stdout.split())
    if not done.ok:
        reason = " ".join(done.stderr.split())[-300:] or said[:80] or "it printed nothing"
        raise LabError(f"{build.source.label}: {daemon} --version ended with {done.rc}: {reason}")
    version = said.partition(" ")[0]
    try:
        parse_version(version)
    except ValueError as error:
        raise LabError(
            f'{daemon} --version prints "{said[:80]}", which is not a version; '
            "is it the product's daemon?"
        ) from error
    return version
