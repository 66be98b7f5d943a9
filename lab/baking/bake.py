"""Baking: a build is installed once into an image, and its server is asked what it is."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clusterproof.lab.baking import base_image, install_by_cloud_init, rehearsal, reported_version
from clusterproof.lab.builds import apt_mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.cluster.member import CommandError
from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError
from clusterproof.lab.host import upload
from clusterproof.lab.host.host import Host
from clusterproof.lab.images import making, rootfs
from clusterproof.lab.images.filling import AskVersion, Fill
from clusterproof.lab.images.image import Image
from clusterproof.lab.images.kinds import CONTAINER, VM, Kind
from clusterproof.lab.images.rootfs import RootfsImage
from clusterproof.lab.substrates.machine import CommandTimeoutError

Progress = Callable[[str, str], None]


def folder() -> Path:
    """Return the folder of baked images."""
    return runs.folder() / "images"


def bake(
    entry: CatalogueBuild,
    host: Host,
    progress: Progress,
    *,
    force: bool = False,
    mirror: str | None = None,
    stop: threading.Event | None = None,
) -> Image:
    """Return the image of a build on the host, making what is missing of it.

    ``progress`` is called with (build, what is being done); ``stop`` ends it from another thread. Raises
    LabError.
    """
    with runs.lock(f"bake-{entry.name}"):
        made = None if force else rootfs.find(entry, folder())
        made = made or making.make(
            entry,
            folder(),
            lambda text: progress(entry.name, text),
            mirror=mirror,
            force=force,
            stop=stop,
            fill=_fill(entry, host, progress, mirror),
            ask=_ask_version(entry, host),
        )
        truth = _read_truth(made)
        fingerprint = truth.get("fingerprint")
        if fingerprint is None or not host.has_image(fingerprint):
            progress(entry.name, "importing")
            fingerprint = upload.give(made.rootfs, made.metadata.read_bytes(), host)
        if "schema" not in truth:
            progress(entry.name, "asking the installed product what it is")
            truth = {"fingerprint": fingerprint, **_ask(entry, made, fingerprint, host)}
            _write_truth(made, truth)
        progress(entry.name, "ready")
        return _image(entry, made, truth)


def bake_vm(
    entry: CatalogueBuild, image: Image, host: Host, progress: Progress, *, mirror: str | None = None
) -> Image:
    """Return the image of a build for VMs, of the same version as ``image`` for containers.

    ``progress`` is as in ``bake``; what is booted meanwhile belongs to the run of ``host``. Raises LabError.
    """
    with runs.lock(f"bake-vm-{entry.name}"):
        made = rootfs.find(entry, folder(), kind=VM) or making.make(
            entry,
            folder(),
            lambda text: progress(entry.name, text),
            mirror=mirror,
            kind=VM,
            fill=_fill(entry, host, progress, mirror, VM),
            # The same program has said it in a container.
            ask=lambda *_: image.build.version.removesuffix(entry.source.version_suffix),
        )
    if _without_distribution(made.package_version) != _without_distribution(image.build.version):
        raise LabError(
            f"{entry.name}: the image for containers has {image.build.version}, the one for VMs "
            f"{made.package_version}: the archive has moved; run clusterproof bake --force {entry.name}"
        )
    return dataclasses.replace(image, digest=made.digest, fingerprint="")


def bake_all(
    entries: Sequence[CatalogueBuild],
    host: Host,
    progress: Progress,
    *,
    force: bool = False,
    mirror: str | None = None,
) -> dict[str, Image | LabError]:
    """Bake several builds, two at a time; return by build's name the image or why there is none."""
    stop = threading.Event()

    def one(entry: CatalogueBuild) -> Image | LabError:
        try:
            return bake(entry, host, progress, force=force, mirror=mirror, stop=stop)
        except LabError as error:
            progress(entry.name, f"failed: {error}")
            return error

    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        try:
            return dict(zip([e.name for e in entries], pool.map(one, entries), strict=True))
        except BaseException:
            # An interrupt reaches this thread only, not those that bake.
            stop.set()
            raise


def baked(entry: CatalogueBuild) -> Image | None:
    """Return the build's image if it was baked, whether or not the host has it now."""
    made = rootfs.find(entry, folder())
    truth = _read_truth(made) if made else {}
    return _image(entry, made, truth) if made and "schema" in truth else None


def _image(entry: CatalogueBuild, made: RootfsImage, truth: dict[str, Any]) -> Image:
    extensions = frozenset(truth["extensions"])
    build = entry.installed(made.package_version, len(extensions), truth["schema"])
    parts = tuple(truth.get("parts", ()))
    return Image(build, entry.facts, made.digest, truth["fingerprint"], extensions, parts)


def _ask(entry: CatalogueBuild, made: RootfsImage, fingerprint: str, host: Host) -> dict[str, Any]:
    """Start the build once and read its API extensions and its schema version. Raises LabError."""
    unknown = Image(entry.installed(made.package_version), entry.facts, made.digest, fingerprint)
    probe = Cluster(host, Transcript())
    try:
        (member,) = probe.make_members([unknown])
        member.daemon.start()
        member.daemon.wait_ready()
        server = json.loads(member.client("query", "/1.0").stdout)
        schema = re.findall(r"\b\d+\b", member.sql("global", "SELECT MAX(version) AS newest FROM schema"))
        asks = member.daemon.packaging.asks_parts
        return {
            "extensions": server["api_extensions"],
            "schema": int(schema[-1]),
            "parts": member.run(asks, check=True).stdout.splitlines() if asks else [],
        }
    except (CommandError, CommandTimeoutError, NotObservedError, ValueError, LookupError) as error:
        raise LabError(f"{entry.name} was installed but does not say what it is: {error}") from error
    finally:
        probe.destroy()


def _without_distribution(version: str) -> str:
    """Return the version of a Zabbly package without the distribution that it was built for."""
    return re.sub(r"-(debian|ubuntu)[0-9.]+", "", version)


def _fill(
    entry: CatalogueBuild,
    host: Host,
    progress: Progress,
    mirror: str | None,
    kind: Kind = CONTAINER,
) -> Fill | None:
    """Return what fills a root file system with ``entry`` where a first boot installs it; else None."""
    return _by_first_boot(entry, host, progress, mirror, kind) if entry.source.first_boot else None


def _ask_version(entry: CatalogueBuild, host: Host) -> AskVersion | None:
    """Return what asks a daemon of the user's for its version, in the base of ``entry``; else None."""
    if entry.source.base_build is None:
        return None
    return lambda image, files: reported_version.ask(entry, image, files, host)


def _by_first_boot(
    entry: CatalogueBuild, host: Host, progress: Progress, mirror: str | None, kind: Kind
) -> Fill:
    """Return what fills a root file system with ``entry``: a container on ``host``, or a VM of its run."""

    def say(text: str) -> None:
        progress(entry.name, text)

    def make_base() -> RootfsImage:
        debian = base_image.base_build(entry)
        return making.make(
            debian, folder(), lambda line: say(f"{debian.asked}: {line}"), mirror=mirror, kind=kind
        )

    def make_snaps(packaged: CatalogueBuild) -> Sequence[Path]:
        return rehearsal.make(entry, packaged, folder(), say, mirror)

    def fill(root: Path) -> str:
        files = entry.first_boot.handed_over(make_snaps)
        text = install_by_cloud_init.user_data(entry, apt_mirror.find(mirror), kind=kind)
        if kind is VM:
            return install_by_cloud_init.fill_in_vm(entry, make_base(), host, say, text, root, files)
        base = base_image.base_of(entry)
        if base.suite:
            made = make_base()
            with made.metadata.open("rb") as metadata:
                fingerprint = upload.give(made.rootfs, base_image.seeded(metadata), host)
        else:
            say(f"getting image {base.alias} of {base.server}")
            fingerprint = base_image.fetched(base, host)
        return install_by_cloud_init.fill_in_container(entry, fingerprint, host, say, text, root, files)

    return fill


def _truth_path(made: RootfsImage) -> Path:
    return made.folder / "truth.json"


def _read_truth(made: RootfsImage) -> dict[str, Any]:
    with contextlib.suppress(OSError, ValueError):
        truth: dict[str, Any] = json.loads(_truth_path(made).read_text())
        return truth
    return {}


def _write_truth(made: RootfsImage, truth: dict[str, Any]) -> None:
    path = _truth_path(made)
    partial = path.with_suffix(".part")
    partial.write_text(json.dumps(truth, indent=1))
    partial.replace(path)
