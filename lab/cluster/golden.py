"""Golden clusters: members that were booted, and joined, once, and go on from there for every scenario.

Booting a machine takes minutes where its processor is emulated, going on from its saved memory takes seconds.
A golden cluster belongs to one image, number of members and version of QEMU; it is thrown away when one of
them changes, and when it does not come back.
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

# Counts up when what is saved here changes its form.
FORM = 1
# Bytes that one member takes at most, memory and disks.
SPACE = qemu.MEMORY * (1 << 20) + (1 << 30)
ONLINE = 60.0
DROP_CACHES = "sync; echo 3 > /proc/sys/vm/drop_caches"
_WHOLE = "golden.json"
SERVER = "server.crt"


@dataclass(frozen=True)
class Golden:
    """``count`` members of ``image``, saved as booted machines, or as a cluster where they are ``formed``."""

    image: Image
    count: int
    formed: bool

    @property
    def folder(self) -> Path:
        """Where it is kept."""
        return place() / self._identity

    def cluster(self, host: Host, transcript: Transcript) -> Cluster:
        """Return the cluster that ``restore`` brings back, without members yet; it has to be saved by then.

        What it is entered with is copied to the run's folder: another run may throw this away meanwhile.
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
        """Return how long it took to be ``booted``, ``formed``, ``saved``, and in all ``built``."""
        found: dict[str, float] = json.loads((self.folder / _WHOLE).read_text())["seconds"]
        return found

    def is_saved(self) -> bool:
        """Say whether it can be restored."""
        try:
            sizes: dict[str, int] = json.loads((self.folder / _WHOLE).read_text())["sizes"]
            return all((self.folder / name).stat().st_size == size for name, size in sizes.items())
        except (OSError, ValueError, LookupError):
            return False

    def ensure(self, host: Host, transcript: Transcript, failed: Callable[[Cluster], None]) -> float:
        """Boot, form and save it where it is missing; return the seconds that took.

        ``failed`` is given the cluster when that fails, before it is removed. Raises LabError.
        """
        began = time.monotonic()
        with runs.lock(f"golden-{self._identity}"):
            if not self.is_saved():
                _prune(self)
                self._build(host, transcript, failed)
        return time.monotonic() - began

    def restore(self, cluster: Cluster) -> None:
        """Let the members of ``cluster`` go on from here. Raises LabError where they do not come back."""
        began = time.monotonic()
        with (
            runs.lock(f"golden-{self._identity}"),
            cluster.transcript.step("lab", "host", f"restore {self}"),
        ):
            machines = [
                (member.machine, self.folder / member.name)
                for member in cluster.add_members([self.image] * self.count)
                if isinstance(member.machine, VirtualMachine)
            ]
            with ThreadPoolExecutor(self.count) as pool:
                list(pool.map(lambda one: one[0].resume(one[1]), machines))
            if self.formed:
                cluster.expect_online(ONLINE)
                cluster.formed = True
        cluster.phases["members"] += time.monotonic() - began

    def discard(self) -> None:
        """Throw it away."""
        with runs.lock(f"golden-{self._identity}"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __str__(self) -> str:
        """Say in a few words what it is."""
        kind = "cluster" if self.formed else "machines"
        return f"golden {kind} of {self.count} with {self.image.build.name}"

    @cached_property
    def _identity(self) -> str:
        # Asked all the time, and it takes two programs to be started.
        files = disk_of(self.image)
        disk, accelerator = files.rootfs.stat(), acceleration.chosen(files)
        parts = {
            "form": FORM,
            "image": [self.image.digest, disk.st_size, disk.st_mtime_ns],
            "qemu": [acceleration.version(), accelerator],
            "machine": [qemu.MEMORY, qemu.CPUS, qemu.ACCELERATORS[accelerator], arguments(self.image)],
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
            (partial / _WHOLE).write_text(json.dumps(known, indent=1))
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
        """Raise LabError where saving would not fit; it is only known after minutes."""
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
        machines = [m.machine for m in cluster.members if isinstance(m.machine, VirtualMachine)]
        with ThreadPoolExecutor(self.count) as pool:
            # All stand still before the first one is written: none is to miss another one's heartbeat.
            list(pool.map(VirtualMachine.pause, machines))
            names = [into / member.name for member in cluster.members]
            list(pool.map(VirtualMachine.save, machines, names))


def place() -> Path:
    """Return where golden clusters are kept."""
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
    """Yield a cluster of ``count`` machines with ``image``, joined where they are to be ``formed``.

    One that does not come back from its saved state is saved anew, once. ``failed`` is given a cluster that
    could not be made, before it is removed. Raises LabError.
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
            transcript.note("lab", "host", f"{golden} did not come back and is made anew", reason=str(error))
        except BaseException:
            cluster.destroy()
            raise
    yield cluster


def _prune(wanted: Golden) -> None:
    """Remove what ``wanted`` takes the place of, what is of images that are gone, and what is unfinished."""
    images = {path.name for path in (runs.folder() / "images").glob("*")}
    for folder in place().glob("*"):
        try:
            known = json.loads((folder / _WHOLE).read_text())
            outdated = known["what"] == str(wanted) or known["image"] not in images
        except (OSError, ValueError, LookupError):
            outdated = True
        if outdated and folder.stem != wanted.folder.name:
            # One that is being made, or gone on from, by another process is left to it.
            with contextlib.suppress(Timeout), runs.lock(f"golden-{folder.stem}").acquire(timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


def _content(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.yaml")):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
