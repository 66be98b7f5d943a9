"""Making an image: a build is installed once, by mmdebstrap or as its source says, and packed.

Nothing here talks to a server: what a first boot has installed is handed in as ``fill``.
"""

from __future__ import annotations

import io
import json
import os
import platform
import shutil
import string
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from filelock import FileLock, Timeout

from clusterproof.builds import is_before, upstream
from clusterproof.lab.builds import apt_mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images.filling import AskVersion, Fill, RootFiller
from clusterproof.lab.images.kinds import CONTAINER, Kind
from clusterproof.lab.images.leftovers import clear_leftovers, remove_tree
from clusterproof.lab.images.logged_commands import LoggedCommands, Progress, StoppedError
from clusterproof.lab.images.recipe import IMAGES, digest, recipe
from clusterproof.lab.images.rootfs import RootfsImage, read

SPACE = 2 * 1024**3
"""Bytes that must be free before an image is made; making one takes at most half of them."""
FIRST_BOOT = 4 * 1024**3
"""The same where another image's first boot makes it: that image and the server's copies are there, too."""

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "unsquashfs": "squashfs-tools",
    "dpkg-query": "dpkg",
    "ldconfig": "libc-bin",
    "mke2fs": "e2fsprogs",
}


def make(
    build: CatalogueBuild,
    into: Path,
    progress: Progress,
    mirror: str | None = None,
    *,
    force: bool = False,
    stop: threading.Event | None = None,
    images_dir: Path = IMAGES,
    kind: Kind = CONTAINER,
    fill: Fill | None = None,
    ask: AskVersion | None = None,
) -> RootfsImage:
    """Return the image of ``build`` in the folder ``into``, making it where it is missing.

    ``fill`` is needed by builds that a first boot installs: it puts what that has installed into a folder.
    ``ask`` is needed by a daemon of the user's: it returns the version that this reports.

    ``force`` makes it again, which takes newer packages from the archive. ``mirror`` is the address
    of an archive (by default that of this computer's apt). ``progress`` gets what is being done, one line
    at a time, from the calling thread. An exception there, such as an interrupt by the user, ends
    the installation with all its processes; so does, within a second, setting ``stop`` from another
    thread. Any number of threads and processes may call this at once: one makes the image, the
    others wait for it.

    Raises LabError, with the way out, where a tool, root, room on the disk or the network is
    missing, and where installing fails; then ``<into>/<digest>.log`` has the whole output.
    """
    identity = digest(build, images_dir, kind)
    final = into / identity
    if not force and (image := read(final, kind)):
        return image

    def make_other(other: CatalogueBuild, archive: str | None) -> RootfsImage:
        def say(text: str) -> None:
            progress(f"{other.name}: {text}")

        return make(other, into, say, archive, stop=stop, images_dir=images_dir, kind=kind)

    job = _Job(
        build, into, identity, images_dir, kind,
        progress=progress, stop=stop or threading.Event(), fill=fill, ask=ask, make_other=make_other,
    )  # fmt: skip
    try:
        into.mkdir(parents=True, exist_ok=True)
        asked = time.time()
        with job.lock():
            made = read(final, kind)
            if made and (not force or final.stat().st_mtime > asked):
                return made
            source = apt_mirror.find(mirror)
            job.check()
            clear_leftovers(into, own=identity)
            return job.make(source)
    except OSError as error:
        where = error.filename or into
        raise LabError(
            f"cannot make the image of {build.name}: {where}: {error.strerror or error}"
        ) from error


def describe(
    file: IO[bytes], values: Mapping[str, str], *, created: int, images_dir: Path = IMAGES
) -> None:
    """Write the description of an image for LXD and Incus, a tar, to ``file``.

    ``values`` are the build, its version and a digest; ``created`` is in seconds since 1970.
    """
    place = images_dir / CONTAINER.name
    text = string.Template((place / "metadata.yaml").read_text("utf-8"))
    values = {**values, "architecture": platform.machine(), "created": str(created)}
    entries = {"metadata.yaml": text.substitute(values).encode()}
    entries |= {f"templates/{path.name}": path.read_bytes() for path in place.glob("templates/*")}
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, content in sorted(entries.items()):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            entry.mode = 0o644
            tar.addfile(entry, io.BytesIO(content))


class _Job:
    """Making one image."""

    def __init__(
        self,
        build: CatalogueBuild,
        into: Path,
        identity: str,
        images_dir: Path,
        kind: Kind,
        *,
        progress: Progress,
        stop: threading.Event,
        fill: Fill | None,
        ask: AskVersion | None,
        make_other: Callable[[CatalogueBuild, str | None], RootfsImage],
    ) -> None:
        self._build = build
        self._kind = kind
        self._into = into
        self._identity = identity
        self._images_dir = images_dir
        self._stop = stop
        self._progress = progress
        self._fill = fill
        self._ask = ask
        self._make_other = make_other

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this image, which all processes of this computer share."""
        lock = FileLock(self._into / f"{self._identity}.lock")
        waiting = False
        while not lock.is_locked:
            if self._stop.is_set():
                raise StoppedError(f"making the image of {self._build.name} was cancelled")
            try:
                lock.acquire(timeout=0.5 if waiting else 0)
            except Timeout:
                if not waiting:
                    self._progress("another process makes this image; waiting for it")
                waiting = True
        try:
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Raise LabError where something that making an image needs is missing."""
        name = self._build.name
        if os.geteuid() != 0:
            raise LabError(f"making the image of {name} needs root; run it with sudo")
        missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
        if missing:
            raise LabError(f"making the image of {name} needs {', '.join(missing)}; run lab/bootstrap")
        free = shutil.disk_usage(self._into).free
        space = FIRST_BOOT if self._build.source.first_boot else SPACE
        if free < space:
            raise LabError(
                f"{self._into} has {free / 1024**3:.1f} GiB free and making the image of "
                f"{name} needs {space / 1024**3:.0f}; make room there or set LAB_DIR"
            )

    def make(self, mirror: apt_mirror.Mirror) -> RootfsImage:
        """Make the image. Raises LabError, OSError."""
        partial = self._into / f"{self._identity}.partial"
        partial.mkdir()
        started = time.monotonic()
        log = self._into / f"{self._identity}.log"
        commands = LoggedCommands(self._build.name, log, self._progress, self._stop, mirror.archive)
        try:
            log.unlink(missing_ok=True)
            root = partial / "root"
            filler = RootFiller(
                self._build, root, self._images_dir, self._kind,
                mirror=mirror, commands=commands, progress=self._progress, fill=self._fill, ask=self._ask,
                make_base=lambda base: self._make_other(base, mirror.archive),
            )  # fmt: skip
            version = self._build.fill(filler)
            self._progress("packing")
            for argv in self._kind.pack(root, partial):
                commands.run(argv)
            remove_tree(root)
            if self._kind is CONTAINER:
                values = {"build": self._build.name, "version": version, "digest": self._identity}
                with (partial / "metadata.tar").open("wb") as file:
                    describe(file, values, created=int(time.time()), images_dir=self._images_dir)
            made = {
                **recipe(self._build, self._images_dir, self._kind),
                "digest": self._identity,
                "package_version": version,
                "rootfs_bytes": (partial / self._kind.large).stat().st_size,
                "seconds": round(time.monotonic() - started, 1),
            }
            (partial / "recipe.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
            self._put_in_place(partial)
        finally:
            remove_tree(partial)
        image = read(self._into / self._identity, self._kind)
        if image is None:
            raise LabError(f"the image of {self._build.name} was damaged as it was made; make it again")
        self._report(version, time.monotonic() - started)
        return image

    def _report(self, version: str, seconds: float) -> None:
        self._progress(f"{version}, made in {seconds:.0f} s")
        build = self._build
        if build.source.stated and not upstream(version).startswith(build.version):
            newer = is_before(build.version, version)
            self._progress(
                f"{build.source.label} now holds {version}, which is "
                f"{'newer' if newer else 'older'} than what was asked for; change lab/products"
            )

    def _put_in_place(self, partial: Path) -> None:
        """Give the finished image its name, in place of an older one."""
        final = self._into / self._identity
        if final.exists():
            old = self._into / f"{self._identity}.old.partial"
            final.rename(old)
            partial.rename(final)
            remove_tree(old)
        else:
            partial.rename(final)
