"""A member's root file system: one build, installed once by mmdebstrap, packed as an image.

The result is a folder named after the digest of its recipe: for containers what LXD and Incus can import,
for virtual machines a disk and what boots it. Nothing here talks to a server.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import re
import shlex
import shutil
import signal
import string
import subprocess
import tarfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from clusterproof.builds import is_before, parse_version, upstream
from clusterproof.lab.builds import apt_mirror as mirrors
from clusterproof.lab.builds.catalogue import CatalogueBuild, ChannelBuild, SideloadedBuild, Source
from clusterproof.lab.core.errors import LabError

IMAGES = Path(__file__).parent
CLOUD_INIT = Path(__file__).parents[1] / "cloud-init"
# Bytes of a virtual machine's first disk, which is sparse.
DISK = 6 * 1024**3
# What Debian calls a machine that the kernel calls otherwise.
DEBIAN_NAMES = {"x86_64": "amd64", "aarch64": "arm64"}
SPACE = 2 * 1024**3
"""Bytes that must be free before an image is made; the most that one takes meanwhile is half."""

WITHOUT_SECURITY = frozenset({"sid", "unstable", "testing", "experimental"})
"""Suites for which Debian's security archive has nothing."""

# Dies with the thread that started it, and takes every process and mount with it.
GUARD = (
    "setpriv",
    "--pdeathsig",
    "KILL",
    "unshare",
    "--mount",
    "--pid",
    "--fork",
    "--kill-child",
    "--mount-proc",
)
# mmdebstrap's own hooks, which let the installation see package files of this machine.
FILES_INSIDE = "/usr/share/mmdebstrap/hooks/file-mirror-automount"
# Remarks of mmdebstrap that say nothing to somebody who waits.
ASIDE = (
    b"I: chroot architecture",
    b"I: finding correct",
    b"I: main() received",
    b"I: running --",
    b"I: success",
)
# mmdebstrap's errors that only repeat that there was one.
ECHO = re.compile(r"mmdebstrap failed to run|-oAPT::Status-Fd=|Some index files failed to download")
TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mksquashfs": "squashfs-tools",
    "setpriv": "util-linux",
    "unshare": "util-linux",
    "unsquashfs": "squashfs-tools",
    "dpkg-query": "dpkg",
    "mke2fs": "e2fsprogs",
}

Progress = Callable[[str], None]
# Fills the folder of a root file system by other means than mmdebstrap, and returns the version in it.
Fill = Callable[[Path], str]


@dataclass(frozen=True)
class Kind:
    """What an image is for.

    ``name`` is its folder of ``lab/images``, ``folders`` are all that decide what it holds, and ``large`` is
    the file that is the image, with ``others`` beside it.
    """

    name: str
    folders: tuple[str, ...]
    large: str
    others: tuple[str, ...]


CONTAINER = Kind("container", ("container", "tiny"), "rootfs.squashfs", ("metadata.tar",))
VM = Kind("vm", ("container", "tiny", "vm"), "root.img", ("vmlinuz", "initrd"))


@dataclass(frozen=True)
class RootfsImage:
    """An image of a build on this machine's disk.

    Of a container ``rootfs`` (squashfs) and ``metadata`` (tar) are what a server imports; of a virtual machine
    ``rootfs`` is its disk (ext4), and ``kernel`` and ``initrd`` boot it. ``package_version`` is the whole
    version of the product's package, read from what was installed.
    """

    digest: str
    rootfs: Path
    package_version: str

    @property
    def folder(self) -> Path:
        """Where the image lies, with ``packages.tsv`` and ``recipe.json`` beside it."""
        return self.rootfs.parent

    @property
    def metadata(self) -> Path:
        """What a server is told of a container's image."""
        return self.folder / "metadata.tar"

    @property
    def kernel(self) -> Path:
        """The kernel of a virtual machine."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """The initial file system of a virtual machine."""
        return self.folder / "initrd"


class _StoppedError(LabError):
    """The caller changed its mind: this image was given up."""


def recipe(
    build: CatalogueBuild, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> dict[str, object]:
    """Return all that decides what an image of ``build`` holds, as plain data.

    The mirror is not part of it: it says where the packages come from, not which.
    """
    if isinstance(build, SideloadedBuild):
        # Its name holds the version, which is known when the image has been made.
        return {
            "product": build.product,
            "source": build.source.model_dump(mode="json"),
            "base": digest(build.base, images_dir, kind),
        }
    files = {
        str(path.relative_to(images_dir)): [
            "x" if path.stat().st_mode & 0o100 else "-",
            hashlib.sha256(path.read_bytes()).hexdigest(),
        ]
        for folder in kind.folders
        for path in sorted((images_dir / folder).rglob("*"))
        if path.is_file()
    }
    found: dict[str, object] = {
        "build": build.name,
        "architecture": platform.machine(),
        "source": build.source.model_dump(mode="json"),
        "packages": _packages(build, images_dir, kind),
        "files": files,
    }
    if isinstance(build, ChannelBuild):
        found["cloud-init"] = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in (*sorted(CLOUD_INIT.glob("install-*.yaml")), CLOUD_INIT / "images.toml")
        }
    return found


def digest(build: CatalogueBuild, images_dir: Path = IMAGES, kind: Kind = CONTAINER) -> str:
    """Return the identity of the recipe of ``build``: sha256, in hexadecimal digits."""
    text = json.dumps(recipe(build, images_dir, kind), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def find(
    build: CatalogueBuild, into: Path, images_dir: Path = IMAGES, kind: Kind = CONTAINER
) -> RootfsImage | None:
    """Return the image of ``build`` in the folder ``into``; None where it is missing or damaged."""
    return read(into / digest(build, images_dir, kind), kind)


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
) -> RootfsImage:
    """Return the image of ``build`` in the folder ``into``, making it where it is missing.

    ``fill`` makes what is in it where that takes more than this machine: a build of a channel needs it.

    ``force`` makes it again, which takes newer packages from the archive. ``mirror`` is the address
    of an archive (by default this machine's own). ``progress`` is told what is being done, one line
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
    job = _Job(
        build, into, identity, images_dir, kind, progress=progress, stop=stop or threading.Event(), fill=fill
    )
    try:
        into.mkdir(parents=True, exist_ok=True)
        asked = time.time()
        with job.lock():
            made = read(final, kind)
            if made and (not force or final.stat().st_mtime > asked):
                return made
            source = mirrors.find(mirror)
            job.check()
            clear_leftovers(into, own=identity)
            return job.make(source)
    except OSError as error:
        where = error.filename or into
        raise LabError(
            f"cannot make the image of {build.name}: {where}: {error.strerror or error}"
        ) from error


def clear_leftovers(into: Path, own: str = "") -> None:
    """Remove what attempts that were killed have left in ``into``, unless a live one holds its lock.

    ``own`` is the digest whose lock the caller holds. Raises LabError where something is mounted
    inside that cannot be unmounted.
    """
    for partial in sorted(into.glob("*.partial")):
        identity = partial.name.partition(".")[0]
        if identity == own:
            remove_tree(partial)
            continue
        try:
            with FileLock(into / f"{identity}.lock", timeout=0):
                remove_tree(partial)
        except Timeout:
            continue


def remove_tree(folder: Path) -> None:
    """Remove ``folder`` without ever descending into what is mounted inside.

    Mounts are taken away first. Raises LabError, and removes nothing, where one stays.
    """
    if not folder.exists():
        return
    for _ in range(8):
        inside = mounts_below(folder)
        if not inside:
            break
        # Else unmounting would reach the place that a shared mount was bound from.
        for mount in inside:
            subprocess.run(["mount", "--make-private", mount], capture_output=True, check=False)
        for mount in reversed(inside):
            subprocess.run(["umount", "--lazy", "--", mount], capture_output=True, check=False)
    if inside := mounts_below(folder):
        raise LabError(
            f"{inside[-1]} is mounted inside the leftover {folder} and does not let go; "
            f"unmount it (umount {shlex.quote(inside[-1])}) and try again"
        )
    done = subprocess.run(
        ["rm", "-r", "-f", "--one-file-system", "--", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise LabError(f"cannot remove the leftover {folder}: {_last(done.stderr, 1)}")


def mounts_below(folder: Path, mountinfo: Path = Path("/proc/self/mountinfo")) -> list[str]:
    """Return the mount points at or below ``folder``, in the order in which they were mounted."""
    top = str(folder.resolve())
    points = []
    for line in mountinfo.read_text("utf-8", errors="surrogateescape").splitlines():
        escaped = line.split(" ")[4]
        point = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped)
        if point == top or point.startswith(f"{top}/"):
            points.append(point)
    return points


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
        fill: Fill | None = None,
    ) -> None:
        self.fill = fill
        self.build = build
        self.kind = kind
        self.into = into
        self.identity = identity
        self.images_dir = images_dir
        self.stop = stop
        self.log = into / f"{identity}.log"
        self._progress = progress

    def say(self, text: str) -> None:
        self._progress(text)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the lock of this image, which all processes of this machine share."""
        lock = FileLock(self.into / f"{self.identity}.lock")
        told = False
        while not lock.is_locked:
            if self.stop.is_set():
                raise _StoppedError(f"the image of {self.build.name} was given up")
            try:
                lock.acquire(timeout=0.5 if told else 0)
            except Timeout:
                if not told:
                    self.say("another process makes this image; waiting for it")
                told = True
        try:
            yield
        finally:
            lock.release()

    def check(self) -> None:
        """Raise LabError where something that making an image needs is missing."""
        if os.geteuid() != 0:
            raise LabError(f"making the image of {self.build.name} needs root; run it with sudo")
        missing = sorted({package for tool, package in TOOLS.items() if not shutil.which(tool)})
        if missing:
            raise LabError(
                f"making the image of {self.build.name} needs {', '.join(missing)}; run lab/bootstrap"
            )
        free = shutil.disk_usage(self.into).free
        if free < SPACE:
            raise LabError(
                f"{self.into} has {free / 1024**3:.1f} GiB free and making the image of "
                f"{self.build.name} needs {SPACE / 1024**3:.0f}; make room there or set LAB_DIR"
            )

    def make(self, mirror: mirrors.Mirror) -> RootfsImage:
        partial = self.into / f"{self.identity}.partial"
        partial.mkdir()
        started = time.monotonic()
        try:
            self.log.unlink(missing_ok=True)
            root = partial / "root"
            version = self._fill(root, partial, mirror)
            self.say("packing")
            for argv in PACK[self.kind.name](root, partial):
                self._run(argv, mirror)
            remove_tree(root)
            if self.kind is CONTAINER:
                self._metadata(partial / "metadata.tar", version)
            made = {
                **recipe(self.build, self.images_dir, self.kind),
                "digest": self.identity,
                "package_version": version,
                "rootfs_bytes": (partial / self.kind.large).stat().st_size,
                "seconds": round(time.monotonic() - started, 1),
            }
            (partial / "recipe.json").write_text(json.dumps(made, indent=2) + "\n", "utf-8")
            self._settle(partial)
        finally:
            remove_tree(partial)
        image = read(self.into / self.identity, self.kind)
        if image is None:
            raise LabError(f"the image of {self.build.name} was damaged as it was made; make it again")
        self._tell(version, time.monotonic() - started)
        return image

    def _tell(self, version: str, seconds: float) -> None:
        self.say(f"{version}, made in {seconds:.0f} s")
        if type(self.build) is CatalogueBuild and not upstream(version).startswith(self.build.version):
            newer = is_before(self.build.version, version)
            self.say(
                f"{self.build.source.label} now holds {version}, which is "
                f"{'newer' if newer else 'older'} than what was asked for; change lab/products"
            )

    def _fill(self, root: Path, partial: Path, mirror: mirrors.Mirror) -> str:
        """Put the build into ``root`` and return the version of what is installed there."""
        if isinstance(self.build, ChannelBuild):
            return self._take(self.build, root, partial, mirror)
        if not isinstance(self.build, SideloadedBuild):
            self._run(self._install(self.build, root, mirror), mirror)
            return self._inventory(root, partial)
        if self.build.source.form == "packages":
            given = self._copy_packages(self.build, partial / "packages")
            self._run(self._install(self.build.base, root, mirror, given), mirror)
            remove_tree(partial / "packages")
            version = self._inventory(root, partial)
        else:
            base = self._base(self.build, mirror)
            self.say("unpacking")
            self._run(UNPACK[self.kind.name](base.rootfs, base, root), mirror)
            daemon = root / self.build.facts.daemon.lstrip("/")
            daemon.unlink(missing_ok=True)
            shutil.copyfile(self.build.path, daemon)
            daemon.chmod(0o755)
            self._inventory(root, partial)
            version = self._reported(root, partial / "version", mirror)
        return self.build.identity(version)

    def _take(
        self, build: ChannelBuild, root: Path, partial: Path, mirror: mirrors.Mirror
    ) -> str:
        """Take what cloud-init has installed, and make a member of it as of the others."""
        if self.fill is None:
            raise LabError(f"{build.name} is installed on the lab host; clusterproof bake {build.name} does it")
        version = self.fill(root)
        customise = self.images_dir / self.kind.name / "customise"
        self._run(["sh", str(customise), str(root), str(self.images_dir)], mirror)
        self._inventory(root, partial)
        return version

    def _base(self, build: SideloadedBuild, mirror: mirrors.Mirror) -> RootfsImage:
        return make(
            build.base,
            self.into,
            lambda text: self.say(f"{build.base.name}: {text}"),
            mirror.archive,
            stop=self.stop,
            images_dir=self.images_dir,
            kind=self.kind,
        )

    def _copy_packages(self, build: SideloadedBuild, into: Path) -> list[str]:
        """Copy what was given to where its names hold no comma, which would end a name for mmdebstrap."""
        into.mkdir()
        copies = [into / f"{number}.deb" for number, _ in enumerate(build.files)]
        for file, copy in zip(build.files, copies, strict=True):
            shutil.copyfile(file, copy)
        return [str(copy) for copy in copies]

    def _reported(self, root: Path, answer: Path, mirror: mirrors.Mirror) -> str:
        """Return the version that the daemon in ``root`` says it has."""
        daemon = self.build.facts.daemon
        # Without /proc it ends at once and says nothing. The mount is gone with its namespace.
        ask = 'mount -t proc proc "$1/proc" && exec chroot "$1" "$2" --version >"$3"'
        self._run(["sh", "-c", ask, "sh", str(root), daemon, str(answer)], mirror)
        said = " ".join(answer.read_text("utf-8", errors="replace").split())
        answer.unlink()
        version = said.partition(" ")[0]
        try:
            parse_version(version)
        except ValueError as error:
            raise LabError(
                f'{self.build.name}: asked for its version, {daemon} says "{said[:80]}", '
                "which is none; is it the product's daemon?"
            ) from error
        return version

    def _install(
        self, build: CatalogueBuild, root: Path, mirror: mirrors.Mirror, files: Sequence[str] = ()
    ) -> list[str]:
        """Return the command line of mmdebstrap that installs ``build`` and package ``files`` into ``root``."""
        source = build.source
        assert isinstance(source, Source)
        first, *more = source.suites
        hooks = self.images_dir / "container"
        customise = shlex.quote(str(self.images_dir / self.kind.name / "customise"))
        pin = [source.pin.release, *source.pin.packages] if source.pin else []
        argv = [
            "mmdebstrap",
            "--mode=root",
            "--format=directory",
            "--verbose",
            *_options(self.images_dir),
        ]
        argv.append(f"--include={','.join([*_packages(build, self.images_dir, self.kind), *files])}")
        if files:
            argv.append(f"--hook-dir={FILES_INSIDE}")
        for suite in more:
            added = shlex.join([suite, *pin])
            argv.append(f'--setup-hook=sh {shlex.quote(str(hooks / "add-suite"))} "$1" {added}')
        argv.append(f'--customize-hook=sh {customise} "$1" {shlex.quote(str(self.images_dir))}')
        argv += [first, str(root)]
        if mirror.archive:
            argv.append(f"deb {mirror.archive} {first} main")
            if mirror.security and first not in WITHOUT_SECURITY:
                argv.append(f"deb {mirror.security} {first}-security main")
        return argv

    def _inventory(self, root: Path, partial: Path) -> str:
        """Write ``packages.tsv`` (name, version, architecture); return the product's version."""
        done = subprocess.run(
            [
                *("dpkg-query", f"--admindir={root}/var/lib/dpkg", "--show"),
                "--showformat=${Package}\t${Version}\t${Architecture}\n",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise LabError(
                f"cannot read the packages of the image of {self.build.name}: {_last(done.stderr, 1)}"
            )
        (partial / "packages.tsv").write_text(done.stdout, "utf-8")
        versions = dict(line.split("\t")[:2] for line in done.stdout.splitlines())
        # A snap is no package.
        return versions.get(self.build.facts.packages[0], "")

    def _metadata(self, file: Path, version: str) -> None:
        """Write what LXD and Incus are told of the image."""
        place = self.images_dir / "container"
        text = string.Template((place / "metadata.yaml").read_text("utf-8")).substitute(
            architecture=platform.machine(),
            created=int(time.time()),
            build=self.build.name,
            version=version,
            digest=self.identity,
        )
        with tarfile.open(file, "w") as tar:
            entries = {"metadata.yaml": text.encode()}
            entries |= {
                f"templates/{path.name}": path.read_bytes() for path in place.glob("templates/*")
            }
            for name, content in sorted(entries.items()):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                entry.mode = 0o644
                tar.addfile(entry, io.BytesIO(content))

    def _settle(self, partial: Path) -> None:
        """Give the finished image its name, in place of an older one."""
        final = self.into / self.identity
        if final.exists():
            old = self.into / f"{self.identity}.old.partial"
            final.rename(old)
            partial.rename(final)
            remove_tree(old)
        else:
            partial.rename(final)

    def _run(self, argv: list[str], mirror: mirrors.Mirror) -> None:
        """Run ``argv``, its output going to the log and its milestones to the progress.

        Whatever ends this early also ends every process of the command, and its mounts.
        """
        with self.log.open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(argv)}\n")
            log.flush()
            position = log.tell()
            process = subprocess.Popen(
                [*GUARD, *argv],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
            )
            try:
                ended = False
                while not ended:
                    if self.stop.is_set():
                        raise _StoppedError(f"the image of {self.build.name} was given up")
                    try:
                        process.wait(timeout=0.2)
                        ended = True
                    except subprocess.TimeoutExpired:
                        pass
                    position = self._milestones(position)
            finally:
                _kill(process)
        if process.returncode != 0:
            raise LabError(self._why(argv[0], process.returncode, mirror))

    def _milestones(self, position: int) -> int:
        """Report mmdebstrap's own remarks in the log after ``position``; return its new end."""
        with self.log.open("rb") as log:
            log.seek(position)
            lines = log.read().split(b"\n")
        for line in lines[:-1]:
            if line.startswith(b"I: ") and not line.startswith(ASIDE):
                self.say(line[3:].decode("utf-8", "replace").rstrip("."))
            position += len(line) + 1
        return position

    def _why(self, tool: str, code: int, mirror: mirrors.Mirror) -> str:
        text = self.log.read_text("utf-8", errors="replace")
        end = explain(text)
        where = mirror.archive or "mmdebstrap's default archive"
        return (
            f"the image of {self.build.name} could not be made: "
            f"{tool} ended with {code}: {end.format(into=self.into, archive=where)}; "
            f"its whole output is in {self.log}"
        )


def explain(output: str) -> str:
    """Return in one line why ``output`` of mmdebstrap or mksquashfs ends in a failure.

    May contain ``{into}`` and ``{archive}`` for the caller to fill in.
    """
    if re.search(r"no space left on device|not have enough free space", output, re.IGNORECASE):
        return "no space left on the disk of {into}, make room there or set LAB_DIR"
    last = _last(output, 3).replace("{", "{{").replace("}", "}}")
    network = (
        r"could not resolve|temporary failure (in name resolution|resolving)|could not connect"
        r"|cannot initiate the connection|connection (timed out|refused|failed)|network is unreachable"
    )
    if re.search(network, output, re.IGNORECASE):
        return f"{{archive}} cannot be reached, check the network or give --mirror ({last})"
    return last


def _last(text: str, count: int) -> str:
    """Return the last ``count`` lines of ``text`` that say what went wrong, joined into one."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("$ ") and not ECHO.search(line)]
    errors = [line for line in lines if re.match(r"(E|W|Err|FATAL|error)[: ]|.*\berror\b", line)]
    chosen = list(dict.fromkeys(errors or lines))[-count:]
    return " / ".join(chosen) if chosen else "it said nothing"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` and all that it started; it is a leader of its own process group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _environment() -> dict[str, str]:
    """Return the environment for mmdebstrap: C locale, and apt's own proxies, which it would ignore."""
    environment = {**os.environ, "LC_ALL": "C"}
    environment.pop("TMPDIR", None)
    for scheme in ("http", "https"):
        name = f"{scheme}_proxy"
        if name not in environment and (proxy := _apt_proxy(scheme)):
            environment[name] = proxy
    return environment


def _apt_proxy(scheme: str) -> str:
    try:
        done = subprocess.run(
            ["apt-config", "dump", "--format", "%v%n", f"Acquire::{scheme}::Proxy"],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return ""
    proxy = done.stdout.strip()
    return "" if "\n" in proxy or proxy == "DIRECT" else proxy


def read(folder: Path, kind: Kind = CONTAINER) -> RootfsImage | None:
    """Return the image in ``folder`` where it is whole."""
    try:
        made = json.loads((folder / "recipe.json").read_text("utf-8"))
        whole = (folder / kind.large).stat().st_size == made["rootfs_bytes"]
        whole = whole and all((folder / name).stat().st_size > 0 for name in kind.others)
        version = str(made["package_version"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return RootfsImage(folder.name, folder / kind.large, version) if whole else None


def _pack_container(root: Path, into: Path) -> list[list[str]]:
    options = ["-comp", "zstd", "-Xcompression-level", "3", "-noappend", "-no-progress", "-quiet"]
    return [["mksquashfs", str(root), str(into / CONTAINER.large), *options]]


def _pack_vm(root: Path, into: Path) -> list[list[str]]:
    """Make a sparse disk; kernel and initial file system leave ROOT/boot for a place beside it."""
    boot = root / "boot"
    options = ["-q", "-t", "ext4", "-L", "root", "-m", "0", "-O", "^has_journal", "-d", str(root)]
    return [
        ["mv", str(boot / "vmlinuz"), str(boot / "initrd"), str(into)],
        ["find", str(boot), "-mindepth", "1", "-delete"],
        ["truncate", f"--size={DISK}", str(into / VM.large)],
        ["mke2fs", *options, str(into / VM.large)],
    ]


PACK = {CONTAINER.name: _pack_container, VM.name: _pack_vm}

# Makes the folder $2 of what is on the disk $1; $3 and $4 are its kernel and initial file system, which are put
# where making a member of it, and packing, look for them.
_UNPACK_DISK = """
mkdir "$2" "$2.disk"
mount -o loop,ro "$1" "$2.disk"
cp --archive "$2.disk/." "$2"
umount "$2.disk"
rmdir "$2.disk"
version=$(ls "$2/lib/modules" | sort -V | tail -n 1)
cp "$3" "$2/boot/vmlinuz-$version"
cp "$3" "$2/boot/vmlinuz"
cp "$4" "$2/boot/initrd"
"""


def _unpack_container(file: Path, _: RootfsImage, root: Path) -> list[str]:
    return ["unsquashfs", "-quiet", "-no-progress", "-dest", str(root), str(file)]


def _unpack_vm(disk: Path, image: RootfsImage, root: Path) -> list[str]:
    return ["sh", "-euc", _UNPACK_DISK, "sh", *map(str, (disk, root, image.kernel, image.initrd))]


# By kind the command that makes ROOT of FILE, which is an image's large one, or was: of (FILE, the image, ROOT).
UNPACK = {CONTAINER.name: _unpack_container, VM.name: _unpack_vm}


def member_packages(images_dir: Path = IMAGES) -> list[str]:
    """Return the packages of every member, beside the product's own. Raises LabError."""
    return _lines(images_dir / "container" / "packages")


def _packages(build: CatalogueBuild, images_dir: Path, kind: Kind = CONTAINER) -> list[str]:
    own = build.facts.packages if kind is CONTAINER else (*build.facts.packages, *build.facts.vm_packages)
    release = build.source.suites[0] if isinstance(build.source, Source) else ""
    folders = dict.fromkeys((CONTAINER.name, kind.name))
    listed = [line for folder in folders for line in _lines(images_dir / folder / "packages")]
    return [*(_name(line) for line in listed if f"[!{release}]" not in line), *own]


def _name(line: str) -> str:
    """Return the package that ``line`` of a list names."""
    machine = platform.machine()
    return line.partition(" [!")[0].replace("ARCHITECTURE", DEBIAN_NAMES.get(machine, machine))


def _options(images_dir: Path) -> list[str]:
    return _lines(images_dir / "container" / "options")


def _lines(file: Path) -> list[str]:
    """Return the lines of a list, without comments and empty ones; LabError where it is missing."""
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines()]
    except OSError as error:
        raise LabError(
            f"cannot read {file}: {error.strerror}; restore it from the repository"
        ) from error
    return [line for line in lines if line and not line.startswith("#")]
