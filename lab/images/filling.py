"""Filling the root file system of an image: with packages, another daemon, or what a first boot installed."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.images.kinds import CONTAINER, Kind
from clusterproof.lab.images.leftovers import remove_tree
from clusterproof.lab.images.logged_commands import LoggedCommands, Progress
from clusterproof.lab.images.recipe import lines, packages
from clusterproof.lab.images.rootfs import RootfsImage

# Puts what a first boot has installed into the folder of a root file system, and returns its version.
Fill = Callable[[Path], str]
# Returns the version that a program of the user's reports, which is run in the image given, and not here.
AskVersion = Callable[[RootfsImage, Path], str]

WITHOUT_SECURITY = frozenset({"sid", "unstable", "testing", "experimental"})
"""Suites for which Debian's security archive has nothing."""

# mmdebstrap's own hooks, which make package files of this computer visible to the installation.
FILES_INSIDE = "/usr/share/mmdebstrap/hooks/file-mirror-automount"


class RootFiller:
    """Fills the folder ``root``, which must not be there, for the image of ``build``.

    ``packages.tsv`` is written beside it. ``fill`` is for builds that a first boot installs, ``ask`` for a
    daemon of the user's, and ``make_base`` makes the image of another build.
    """

    def __init__(
        self,
        build: CatalogueBuild,
        root: Path,
        images_dir: Path,
        kind: Kind,
        *,
        mirror: Mirror,
        commands: LoggedCommands,
        progress: Progress,
        fill: Fill | None,
        ask: AskVersion | None,
        make_base: Callable[[CatalogueBuild], RootfsImage],
    ) -> None:
        self._build = build
        self._root = root
        self._images_dir = images_dir
        self._kind = kind
        self._mirror = mirror
        self._commands = commands
        self._progress = progress
        self._fill = fill
        self._ask = ask
        self._make_base = make_base

    def install(self, build: CatalogueBuild, files: Sequence[Path] = ()) -> str:
        """Install ``build`` by mmdebstrap from the suites of its source, with the package ``files``."""
        # A comma in a file's name would end it for mmdebstrap.
        folder = self._root.with_name("packages")
        folder.mkdir()
        copies = [folder / f"{number}.deb" for number, _ in enumerate(files)]
        for file, copy in zip(files, copies, strict=True):
            shutil.copyfile(file, copy)
        self._commands.run(self._mmdebstrap(build, [str(copy) for copy in copies]))
        remove_tree(folder)
        return self._inventory()

    def replace_daemon(self, base: CatalogueBuild, daemon: Path) -> str:
        """Unpack the image of ``base`` and replace its daemon; the version is the one the new one reports."""
        if self._ask is None:
            raise LabError(f"{self._build.name} has a daemon of yours, which the lab host runs for its version")
        image = self._make_base(base)
        self._progress("asking for its version, in a container")
        version = self._ask(image, daemon)
        self._progress("unpacking")
        self._commands.run(self._kind.unpack(image.rootfs, image.folder, self._root))
        inside = self._root / self._build.facts.daemon.lstrip("/")
        inside.unlink(missing_ok=True)
        shutil.copyfile(daemon, inside)
        inside.chmod(0o755)
        self._inventory()
        return version

    def first_boot(self) -> str:
        """Take what a first boot has installed, and customise it as mmdebstrap's hook does the others."""
        if self._fill is None:
            name = self._build.name
            raise LabError(f"{name} is installed on the lab host; clusterproof bake {name} does it")
        version = self._fill(self._root)
        self._commands.run(["sh", str(self._customise), str(self._root), str(self._images_dir)])
        self._inventory()
        return version

    @property
    def _customise(self) -> Path:
        return self._images_dir / self._kind.name / "customise"

    def _mmdebstrap(self, build: CatalogueBuild, files: Sequence[str]) -> list[str]:
        """Return the command that installs ``build`` and package ``files``."""
        first, *more = build.source.suites
        hooks = self._images_dir / CONTAINER.name
        argv = ["mmdebstrap", "--mode=root", "--format=directory", "--verbose", *lines(hooks / "options")]
        argv.append(f"--include={','.join([*packages(build, self._images_dir, self._kind), *files])}")
        if files:
            argv.append(f"--hook-dir={FILES_INSIDE}")
        for suite in more:
            added = shlex.join([suite, *build.source.pinned])
            argv.append(f'--setup-hook=sh {shlex.quote(str(hooks / "add-suite"))} "$1" {added}')
        customise, images_dir = shlex.quote(str(self._customise)), shlex.quote(str(self._images_dir))
        argv.append(f'--customize-hook=sh {customise} "$1" {images_dir}')
        argv += [first, str(self._root)]
        if self._mirror.archive:
            argv.append(f"deb {self._mirror.archive} {first} main")
            if self._mirror.security and first not in WITHOUT_SECURITY:
                argv.append(f"deb {self._mirror.security} {first}-security main")
        return argv

    def _inventory(self) -> str:
        """Write ``packages.tsv`` (name, version, architecture); return the version of the product's package.

        It is empty where there is no such package.
        """
        done = subprocess.run(
            [
                *("dpkg-query", f"--admindir={self._root}/var/lib/dpkg", "--show"),
                "--showformat=${Package}\t${Version}\t${Architecture}\n",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            reason = (done.stderr.strip().splitlines() or ["dpkg-query printed no reason"])[-1]
            raise LabError(f"cannot read the packages of the image of {self._build.name}: {reason}")
        self._root.with_name("packages.tsv").write_text(done.stdout, "utf-8")
        versions = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
        return versions.get(self._build.facts.packages[0], "")
