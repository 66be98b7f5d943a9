"""The benchmark: how long the lab takes for what it does all the time. It prints numbers, judges nothing."""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from clusterproof.lab.baking import bake
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.cluster import ceph, golden
from clusterproof.lab.cluster.cluster import Cluster
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.host import Host
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import qemu_vm
from tools.bench import bare_daemons

MEMBERS = 3


@dataclass(frozen=True)
class Row:
    """One line of the table: ``figures`` are median, lowest and highest, in ``unit``."""

    what: str
    figures: tuple[float, float, float]
    count: int
    target: str
    unit: str = "s"


def measure(
    host: Host,
    entry: CatalogueBuild,
    builds: Sequence[CatalogueBuild],
    repeats: int,
    *,
    cold: bool,
    mirror: str | None = None,
) -> list[Row]:
    """Measure everything ``repeats`` times; ``cold`` also bakes all builds from nothing.

    Raises LabError where a step fails.
    """
    rows = []
    if cold:
        rows.append(_row("five builds baked cold", [_bake(builds, host, mirror, force=True)], "180 s"))
    else:
        _bake(builds, host, mirror, force=False)
    warm = [_bake(builds, host, mirror, force=False) for _ in range(repeats)]
    rows.append(_row(f"{len(builds)} builds baked warm", warm, "2 s"))
    image = bake.bake(entry, host, lambda *_: None, mirror=mirror)
    formed, removed = [], []
    for _ in range(repeats):
        up, down = _cluster(host, image)
        formed.append(up)
        removed.append(down)
    rows.append(_row(f"{MEMBERS} members of {entry.name}: image to all Online", formed, "4 s"))
    rows.append(_row(f"{MEMBERS} members: removed", removed, "1 s"))
    try:
        daemons = [bare_daemons.seconds_to_online(MEMBERS) for _ in range(repeats)]
    except LabError as error:
        rows.append(Row(f"bare daemons: {error}", (0, 0, 0), 0, ""))
    else:
        rows.append(_row(f"{MEMBERS} bare daemons in namespaces: Online", daemons, ""))
        rows.append(_ratio("cluster against bare daemons", formed, daemons, "2.5 x"))
    # In turns, so that a slowdown of the host affects both.
    turns = [(_workers(host, entry, 1), _workers(host, entry, 2)) for _ in range(repeats)]
    alone, both = zip(*turns, strict=True)
    rows.append(_row("one cluster made by one worker", alone, ""))
    rows.append(_row("two clusters made at once by two workers", both, ""))
    rows.append(_ratio("two at once against one", both, alone, "1.6 x"))
    return rows


def measure_vms(
    host: Host, entry: CatalogueBuild, repeats: int, *, mirror: str | None = None
) -> list[Row]:
    """Measure virtual machines and Ceph: one golden cluster is built, and restored ``repeats`` times.

    Raises LabError where a step fails.
    """
    quiet = Transcript()
    image = bake.bake(entry, host, lambda *_: None, mirror=mirror)
    saved = golden.Golden(bake.bake_vm(entry, image, host, lambda *_: None, mirror=mirror), MEMBERS, formed=True)
    with qemu_vm.slot():
        saved.discard()
        saved.ensure(host, quiet, lambda _: None)
        took = saved.seconds()
        restored = [_restore(host, saved) for _ in range(repeats)]
    with tempfile.TemporaryDirectory(prefix="clusterproof-") as folder:
        began = time.monotonic()
        with ceph.running(host, quiet, Path(folder)):
            healthy = time.monotonic() - began
    what = f"{MEMBERS} VMs of {entry.name}"
    return [
        _row(f"{what}: booted", [took["booted"]], ""),
        _row(f"{what}: formed", [took["formed"]], ""),
        _row(f"{what}: saved", [took["saved"]], ""),
        _row(f"{what}: golden cluster built", [took["built"]], "120 s"),
        _row(f"{what}: restored to all Online", restored, "6 s"),
        _row("Ceph of one node: healthy", [healthy], "30 s"),
    ]


def _restore(host: Host, saved: golden.Golden) -> float:
    cluster = saved.cluster(host, Transcript())
    try:
        return _seconds(lambda: saved.restore(cluster))
    finally:
        cluster.destroy()


def make_once(host: Host, entry: CatalogueBuild) -> float:
    """Make and remove one cluster; return the seconds from image to all Online."""
    return _cluster(host, bake.bake(entry, host, lambda *_: None))[0]


def _bake(builds: Sequence[CatalogueBuild], host: Host, mirror: str | None, *, force: bool) -> float:
    def made() -> None:
        for image in bake.bake_all(builds, host, lambda *_: None, force=force, mirror=mirror).values():
            if isinstance(image, LabError):
                raise image

    return _seconds(made)


def _cluster(host: Host, image: Image) -> tuple[float, float]:
    cluster = Cluster(host, Transcript())
    try:
        began = time.monotonic()
        cluster.make_members([image] * MEMBERS)
        cluster.form()
        online = time.monotonic() - began
    finally:
        down = _seconds(cluster.destroy)
    return online, down


def _workers(host: Host, entry: CatalogueBuild, count: int) -> float:
    """Return the longest time that one of ``count`` processes took for a cluster, all started together."""
    code = (
        "import sys\n"
        "from clusterproof.lab.builds import catalogue\n"
        "from clusterproof.lab.core.runs import Run\n"
        "from clusterproof.lab.host.host import connect\n"
        "from tools.bench.bench import make_once\n"
        "host = connect(sys.argv[3], Run(sys.argv[1]))\n"
        "print('ready', flush=True); sys.stdin.readline()\n"
        "print(make_once(host, catalogue.load().get(sys.argv[2])))\n"
    )
    argv = [sys.executable, "-c", code, host.run.id, entry.name, host.endpoint.url]
    workers = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(count)
    ]
    for worker in workers:
        if worker.stdout is None or worker.stdout.readline() != "ready\n":
            raise LabError("a worker of the benchmark could not reach the lab host")
    for worker in workers:
        if worker.stdin:
            worker.stdin.write("go\n")
            worker.stdin.flush()
    times = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise LabError("a worker of the benchmark failed; its error stands above")
    return max(float(text) for text in times)


def _seconds(do: Callable[[], object]) -> float:
    began = time.monotonic()
    do()
    return time.monotonic() - began


def _row(what: str, seconds: Sequence[float], target: str) -> Row:
    figures = (statistics.median(seconds), min(seconds), max(seconds))
    return Row(what, figures, len(seconds), f"at most {target}" if target else "")


def _ratio(what: str, of: Sequence[float], to: Sequence[float], target: str) -> Row:
    base = statistics.median(to)
    figures = (statistics.median(of) / base, min(of) / base, max(of) / base)
    return Row(what, figures, len(of), f"at most {target}", unit="x")
