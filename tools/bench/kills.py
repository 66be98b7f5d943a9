"""Kills: what is left of the lab after a run was killed at any moment, and whether the next run is fine.

``python -m tools.bench.kills [--count N] [--seed N] [--build NAME]``: N times a run of four cells is started
and, at a moment drawn by the seed, killed: its controlling process or a worker with signal 9, or all of it with
Ctrl-C. Then the same cells run undisturbed, which has to pass, and nothing of both may be left afterwards.
Prints a table; exit 1 where one of that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from rich.console import Console
from rich.table import Table

from clusterproof.fixtures.chaos.targets import workers
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host import inventory, sweeping

SCENARIOS = ("suites/config/test_listener_moved.py", "suites/config/test_listener_unset.py")
VICTIMS = ("controller", "worker", "Ctrl-C")
# Seconds that a run of the four cells may take, and that an interrupted one has to end.
LIMIT = 600.0


@dataclass(frozen=True)
class Moment:
    """What is killed, and which part of an undisturbed run's time it has run by then."""

    victim: str
    part: float


@dataclass(frozen=True)
class Outcome:
    """What came of a kill: how the killed run and the next one ended, and what both left; times are seconds."""

    moment: Moment
    after: float
    killed: str
    next_one: int
    took: float
    left: tuple[str, ...]

    @property
    def fine(self) -> bool:
        """Whether the next run passed, and nothing was left."""
        return self.next_one == 0 and not self.left


def moments(count: int, seed: int) -> list[Moment]:
    """Return ``count`` moments; each victim has its turn."""
    dice = random.Random(seed)
    return [Moment(VICTIMS[number % len(VICTIMS)], dice.random()) for number in range(count)]


@contextlib.contextmanager
def started(argv: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command in a process group of its own, as a terminal would; kill what is left of it afterwards.

    A shell lets what it starts in the background ignore Ctrl-C, which is inherited.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with log.open("ab") as output:
            run = subprocess.Popen(argv, stdout=output, stderr=output, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield run
    finally:
        if run.poll() is None:
            os.killpg(run.pid, signal.SIGKILL)
        run.wait()


def kill(run: subprocess.Popen[bytes], victim: str) -> str:
    """Kill ``victim`` of a run, wait for the end of the run, and return how it ended."""
    if run.poll() is not None:
        return f"had ended with {run.returncode}"
    if victim == "controller":
        run.kill()
    elif victim == "worker":
        found = sorted(workers(run.pid), key=lambda one: one.pid)
        if found:
            found[0].kill()
    else:
        os.killpg(run.pid, signal.SIGINT)
    try:
        eventually(lambda: run.poll() is not None, within=LIMIT, every=0.2)
    except NotObservedError:
        return f"does not end within {LIMIT:g} s"
    none = " (no worker yet)" if victim == "worker" and not found else ""
    return f"ended with {run.returncode}{none}"


def left() -> tuple[str, ...]:
    """Return what nobody uses any more, on this computer and on the lab host."""
    with sweeping.borrowed(None) as host:
        found = inventory.unused(host)
    return tuple(str(item) for item in {*found, *inventory.unused()})


def undisturbed(argv: list[str], log: Path) -> tuple[int, float]:
    """Run a command to its end; return its exit status and how long it took (s)."""
    began = monotonic()
    with started(argv, log) as run, contextlib.suppress(NotObservedError):
        eventually(lambda: run.poll() is not None, within=LIMIT, every=0.2)
    return run.wait(), monotonic() - began


def try_out(moment: Moment, argv: list[str], usual: float, log: Path) -> Outcome:
    """Kill a run of ``argv``, which usually takes ``usual`` seconds, and see what comes of it."""
    after = moment.part * usual
    with started(argv, log) as run:
        with contextlib.suppress(NotObservedError):
            eventually(lambda: run.poll() is not None, within=after)
        killed = kill(run, moment.victim)
    status, took = undisturbed(argv, log)
    try:
        remains = left()
    except LabError as error:
        remains = (str(error),)
    return Outcome(moment, after, killed, status, took, remains)


def main() -> int:
    """Print what came of each kill; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.kills", description=__doc__)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--build", default="incus@7.0.2")
    asked = parser.parse_args()
    console = Console()
    table = Table("victim", "after", "the killed run", "the next run", "left")
    fine = True
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        argv = [sys.executable, "-m", "clusterproof", "qualify", *SCENARIOS, "--substrate=container"]
        argv += [f"--build={asked.build}", f"--out={folder}/out"]
        status, usual = undisturbed(argv, log)
        console.print(f"undisturbed: ended with {status} in {usual:.1f} s")
        if status:
            console.print(log.read_text(errors="replace")[-2000:], markup=False, highlight=False)
            return 1
        for moment in moments(asked.count, asked.seed):
            log.unlink()
            outcome = try_out(moment, argv, usual, log)
            fine &= outcome.fine
            remains = inventory_line(outcome.left)
            cells = (moment.victim, f"{outcome.after:.1f} s", outcome.killed)
            table.add_row(*cells, f"ended with {outcome.next_one} in {outcome.took:.1f} s", remains)
            console.print(f"{', '.join(cells)}; next {outcome.next_one}; left: {remains}", highlight=False)
            if not outcome.fine:
                console.print(log.read_text(errors="replace")[-4000:], markup=False, highlight=False)
    console.print(table)
    return 0 if fine else 1


def inventory_line(items: tuple[str, ...]) -> str:
    """Return what is left, in a few words."""
    shown = ", ".join(items[:3])
    return f"{len(items)}: {shown}{', ...' if items[3:] else ''}" if items else "nothing"


if __name__ == "__main__":
    sys.exit(main())
