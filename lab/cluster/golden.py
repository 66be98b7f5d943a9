"""Golden clusters: VMs that are booted, and joined, once and then saved, to be resumed for every scenario.

Booting a VM takes minutes where its processors are emulated; resuming it from its saved memory takes seconds.
A golden cluster belongs to one image, number of members and version of QEMU. It is removed when one of them
changes and when it cannot be resumed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from filelock import Timeout

from clusterproof.lab.cluster.certificates import make_certificate
from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.host import Host
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import acceleration, preseeds, qemu, seed
from clusterproof.lab.substrates.qemu_vm import VirtualMachine, VirtualMachines, arguments, disk_of

# Increased when the format of what is saved changes.
FORMAT = 1
# The most bytes that one member takes, memory and disks.
SPACE = qemu.MEMORY * (1 << 20) + (1 << 30)
ONLINE = 60.0
DROP_CACHES = "sync; echo 3 > /proc/sys/vm/drop_caches"
# Written last, so that a folder without it is incomplete.
_COMPLETE = "golden.json"
SERVER = "server.crt"


@dataclass(frozen=True)
class Golden:
    """``count`` members of ``image``, saved after booting, or as a cluster if ``formed``."""

    image: Image
    count: int
    formed: bool

    @property
    def folder(self) -> Path:
        """Where it is saved."""
        return place() / self._identity

    def cluster(self, host: Host, transcript: Transcript) -> Cluster:
        """Return the cluster that ``restore`` gives its members; the golden one has to be saved by now.

        Its keys and certificates are copied to the run's folder, because another run may remove the golden
        cluster meanwhile.
        """
        own = Path(tempfile.mkdtemp(prefix="golden-", dir=host.run.folder))
        shutil.copytree(self.folder / "keys", own / "keys")
        for path in self.folder.glob("*.*"):
            if path.suffix in (".crt", ".key"):
                shutil.copy(path, own / path.name)
        return Cluster(
            host,
            transcript,
            VirtualMachines(host.run, own / "keys"),
            certificates=(make_certificate(own), own / SERVER),
        )

    def seconds(self) -> dict[str, float]:
        """Return the seconds that booting, forming and saving took, and ``built``, their sum."""
        found: dict[str, float] = json.loads((self.folder / _COMPLETE).read_text())["seconds"]
        return found

    def is_saved(self) -> bool:
        """Say whether it can be restored."""
        try:
            sizes: dict[str, int] = json.loads((self.folder / _COMPLETE).read_text())["sizes"]
            return all((self.folder / name).stat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError, LookupError):
            return False

    def ensure(self, host: Host, transcript: Transcript, failed: Callable[[Cluster], None]) -> float:
        """Boot, form and save it where it is missing; return the seconds that this took.

        Where it fails, ``failed`` is called with the cluster before that is removed. Raises LabError.
        """
        began = time.monotonic()
        with runs.lock(f"golden-{self._identity}"):
            if not self.is_saved():
                _prune(self)
                self._build(host, transcript, failed)
        return time.monotonic() - began

    def restore(self, cluster: Cluster) -> None:
        """Resume the members of ``cluster`` from here. Raises LabError where that fails."""
        began = time.monotonic()
        with (
            runs.lock(f"golden-{self._identity}"),
            cluster.transcript.step("lab", "host", f"restore {self}"),
        ):
            vms = [
                (member.machine, self.folder / member.name)
                for member in cluster.add_members([self.image] * self.count)
                if isinstance(member.machine, VirtualMachine)
            ]
            with ThreadPoolExecutor(self.count) as pool:
                list(pool.map(lambda vm: vm[0].resume(vm[1]), vms))
            if self.formed:
                cluster.expect_online(ONLINE)
                cluster.formed = True
        cluster.phases["members"] += time.monotonic() - began

    def discard(self) -> None:
        """Remove it."""
        with runs.lock(f"golden-{self._identity}"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __str__(self) -> str:
        """Return it in a few words."""
        kind = "cluster" if self.formed else "set"
        return f"golden {kind} of {self.count} members with {self.image.build.name}"

    @cached_property
    def _identity(self) -> str:
        # Cached because it is needed often and takes two programs to find out.
        files = disk_of(self.image)
        disk, accelerator = files.rootfs.stat(), acceleration.chosen(files)
        parts = {
            "format": FORMAT,
            "image": [self.image.digest, disk.st_size, disk.st_mtime_ns],
            "qemu": [acceleration.version(), accelerator],
            "vm": [qemu.MEMORY, qemu.CPUS, qemu.ACCELERATORS[accelerator], arguments(self.image)],
            "seeds": [_content(seed.TEMPLATES), _content(preseeds.FOLDER)],
            "count": self.count,
            "formed": self.formed,
        }
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]

    def _build(self, host: Host, transcript: Transcript, failed: Callable[[Cluster], None]) -> None:
        self._check_room()
        partial = self.folder.with_suffix(".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True, mode=0o700)
        began = time.monotonic()
        substrate = VirtualMachines(host.run, partial / "keys")
        cluster = Cluster(
            host, transcript, substrate, certificates=(make_certificate(partial), partial / SERVER)
        )
        try:
            with transcript.step("lab", "host", f"build {self}"):
                cluster.make_members([self.image] * self.count)
                if self.formed:
                    cluster.form()
                ready = time.monotonic()
                self._save(cluster, partial)
                seconds = {"saved": time.monotonic() - ready, "built": time.monotonic() - began}
            sizes = {
                str(path.relative_to(partial)): path.stat().st_size
                for path in sorted(partial.rglob("*"))
                if path.is_file()
            }
            known = {
                "what": str(self),
                "image": self.image.digest,
                "sizes": sizes,
                "seconds": {"booted": cluster.phases["members"], "formed": cluster.phases["cluster"], **seconds},
            }
            (partial / _COMPLETE).write_text(json.dumps(known, indent=1))
            shutil.rmtree(self.folder, ignore_errors=True)
            partial.rename(self.folder)
        except OSError as error:
            failed(cluster)
            raise LabError(f"{self} could not be saved below {place()}: {error.strerror or error}") from error
        except BaseException:
            failed(cluster)
            raise
        finally:
            cluster.destroy()
            shutil.rmtree(partial, ignore_errors=True)

    def _check_room(self) -> None:
        """Raise LabError where the disk has no room: saving, minutes later, would fail."""
        place().mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(place()).free
        if free < self.count * SPACE:
            raise LabError(
                f"{self} cannot be saved: {free >> 20} MiB are free below {place()} and it may take "
                f"{self.count * SPACE >> 20}; make room there or set LAB_DIR"
            )

    def _save(self, cluster: Cluster, into: Path) -> None:
        for member in cluster.members:
            member.run(DROP_CACHES, check=True)
        vms = [m.machine for m in cluster.members if isinstance(m.machine, VirtualMachine)]
        with ThreadPoolExecutor(self.count) as pool:
            # All are paused before the first one is saved, so that none misses the heartbeat of another.
            list(pool.map(VirtualMachine.pause, vms))
            names = [into / member.name for member in cluster.members]
            list(pool.map(VirtualMachine.save, vms, names))


def place() -> Path:
    """Return the folder of golden clusters."""
    return runs.folder() / "golden"


@contextlib.contextmanager
def members(
    host: Host,
    transcript: Transcript,
    image: Image,
    count: int,
    *,
    formed: bool,
    failed: Callable[[Cluster], None],
) -> Iterator[Cluster]:
    """Yield a cluster of ``count`` VMs with ``image``, joined if ``formed``.

    A golden cluster that cannot be resumed is made again, once. ``failed`` is called with a cluster that could
    not be made, before that is removed. Raises LabError.
    """
    golden = Golden(image, count, formed)
    for last in (False, True):
        golden.ensure(host, transcript, failed)
        cluster = golden.cluster(host, transcript)
        try:
            golden.restore(cluster)
            break
        except LabError as error:
            failed(cluster)
            cluster.destroy()
            golden.discard()
            if last:
                raise
            transcript.note("lab", "host", f"{golden} could not be resumed and is made again", reason=str(error))
        except BaseException:
            cluster.destroy()
            raise
    yield cluster


def _prune(wanted: Golden) -> None:
    """Remove golden clusters that ``wanted`` replaces, whose image is gone, or that are incomplete."""
    images = {path.name for path in (runs.folder() / "images").glob("*")}
    for folder in place().glob("*"):
        try:
            known = json.loads((folder / _COMPLETE).read_text())
            outdated = known["what"] == str(wanted) or known["image"] not in images
        except (OSError, ValueError, LookupError):
            outdated = True
        if outdated and folder.stem != wanted.folder.name:
            # One that another process is making or resuming is locked, and left to it.
            with contextlib.suppress(Timeout), runs.lock(f"golden-{folder.stem}").acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def _content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
