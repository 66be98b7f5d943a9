"""Rehearsal snaps: LXD of Debian's packages in the layout of its real snap, with all that snapd wants beside it.

snapd installs a file without asking a store where its base is there, and a snap called ``snapd`` (prerequisites
in overlord/snapstate/handlers.go). The latter may be empty: snapd goes on as the package where that snap brings
no other version of it (systemSnapSupportsReExec in cmd/tool_linux.go). What the snaps hold stands in
``lab/rehearsal``.
"""

from __future__ import annotations

import hashlib
import string
import threading
from pathlib import Path

from clusterproof.builds import upstream
from clusterproof.lab.builds import apt_mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.sources import REHEARSAL
from clusterproof.lab.core import runs
from clusterproof.lab.core.architecture import debian_architecture
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images import making
from clusterproof.lab.images.kinds import CONTAINER
from clusterproof.lab.images.leftovers import clear_leftovers, remove_tree
from clusterproof.lab.images.logged_commands import LoggedCommands, Progress
from clusterproof.lab.images.recipe import IMAGES, digest, lines
from clusterproof.lab.images.rootfs import RootfsImage

# The name of the base that LXD's snap of the track has.
BASE = "core22"
SQUASHFS = ("-comp", "zstd", "-Xcompression-level", "3", "-all-root", "-noappend", "-no-progress", "-quiet")


def folder() -> Path:
    """Return the folder of rehearsal snaps."""
    return runs.folder() / "snaps"


def make(
    build: CatalogueBuild,
    packaged: CatalogueBuild,
    images: Path,
    progress: Progress,
    mirror: str | None = None,
    *,
    stop: threading.Event | None = None,
) -> tuple[Path, ...]:
    """Return the snaps of ``build``, in the order in which snapd takes them; made where one is missing.

    They are made of what the build ``packaged`` installs, in the folder ``images``. Raises LabError.
    """
    work = _Work(build, packaged, progress, apt_mirror.find(mirror), stop or threading.Event())
    files = work.files
    folder().mkdir(parents=True, exist_ok=True)
    with runs.lock("rehearsal"):
        if all(file.exists() for file in files):
            return files

        def say(text: str) -> None:
            progress(f"{packaged.name}: {text}")

        image = making.make(packaged, images, say, mirror, stop=stop)
        clear_leftovers(folder())
        try:
            work.make(image)
        except OSError as error:
            raise LabError(f"cannot make the snaps of {build.name}: {error}") from error
    return files


class _Work:
    """Making the snaps of ``build`` of what ``packaged`` installs.

    ``files`` are these, in a folder of the build, so that each has beside it what it needs. ``base`` is
    shared by builds of the same packages.
    """

    def __init__(
        self,
        build: CatalogueBuild,
        packaged: CatalogueBuild,
        progress: Progress,
        mirror: apt_mirror.Mirror,
        stop: threading.Event,
    ) -> None:
        self._progress = progress
        self._mirror = mirror
        self._suite = packaged.source.suites[0]
        identity = digest(build)[:12]
        base = hashlib.sha256(digest(packaged).encode())
        for file in (REHEARSAL / "make-base", *sorted((REHEARSAL / "base").iterdir())):
            base.update(file.read_bytes())
        names = ("snapd", BASE, build.first_boot.snap_name)
        self.files = tuple(folder() / identity / f"{name}.snap" for name in names)
        self.base = folder() / f"{BASE}-{base.hexdigest()[:12]}.snap"
        self._folder = folder() / f"{identity}.partial"
        self._commands = LoggedCommands(
            build.name, folder() / f"{identity}.log", progress, stop, mirror.archive
        )

    def make(self, image: RootfsImage) -> None:
        """Make what is missing; ``image`` is that of a member with the packages. Raises LabError, OSError."""
        self._folder.mkdir()
        try:
            self._progress("unpacking")
            packages = self._folder / "packages"
            self._commands.run(CONTAINER.unpack(image.rootfs, image.folder, packages))
            if not self.base.exists():
                self._make_base(packages)
            empty, linked, snap = self.files
            snap.parent.mkdir(exist_ok=True)
            linked.unlink(missing_ok=True)
            linked.hardlink_to(self.base)
            self._progress("making the snap")
            root = self._folder / "lxd"
            argv = [str(root), str(packages), str(self.base), str(REHEARSAL / "lxd")]
            self._commands.run([str(REHEARSAL / "make-lxd"), *argv])
            self._pack(root, "lxd", snap, version=upstream(image.package_version))
            self._pack(self._folder / "empty", "snapd", empty)
        finally:
            remove_tree(self._folder)

    def _make_base(self, packages: Path) -> None:
        self._progress("making the base")
        root = self._folder / "base"
        include = ",".join(lines(REHEARSAL / "base/packages"))
        argv = ["mmdebstrap", "--mode=root", "--format=directory", *lines(IMAGES / CONTAINER.name / "options")]
        argv += [f"--include={include}", self._suite, str(root)]
        archive = [f"deb {self._mirror.archive} {self._suite} main"] if self._mirror.archive else []
        self._commands.run([*argv, *archive])
        folders = str(REHEARSAL / "base/folders")
        self._commands.run([str(REHEARSAL / "make-base"), str(root), str(packages), folders])
        self._pack(root, "base", self.base)

    def _pack(self, root: Path, kind: str, file: Path, version: str = "") -> None:
        """Make the snap ``file`` of the folder ``root``, described by ``kind``'s ``snap.yaml``."""
        text = string.Template((REHEARSAL / kind / "snap.yaml").read_text("utf-8")).substitute(
            architecture=debian_architecture(), base=BASE, suite=self._suite, version=version
        )
        (root / "meta").mkdir(parents=True, exist_ok=True)
        (root / "meta/snap.yaml").write_text(text, "utf-8")
        partial = self._folder / file.name
        self._commands.run(["mksquashfs", str(root), str(partial), *SQUASHFS])
        partial.replace(file)
