"""Background processes of a run, such as QEMU: they outlive the process that started them and end with the run.

A file in the run's folder identifies each, so that another process can find and end it: ``down``, or a sweep
after the run was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.waiting import NotObservedError, eventually

_FOLDER = "processes"
PROC = Path("/proc")


class Process:
    """One process: ``name`` is unique in its run, ``log`` collects its standard output and error."""

    def __init__(self, run: Path, name: str) -> None:
        self.name = name
        self._file = run / _FOLDER / f"{name}.pid"
        self.log = run / _FOLDER / f"{name}.log"

    def start(
        self,
        argv: Sequence[str],
        *,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Start ``argv`` in a session of its own, so that it outlives this process. Raises LabError."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        try:
            with self.log.open("ab") as log:
                started = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=cwd, start_new_session=True,
                    env={**os.environ, **(environment or {})},
                )  # fmt: skip
        except OSError as error:
            raise LabError(f"{self.name}: cannot start {argv[0]}: {error.strerror}") from error
        self._child = started
        self._file.write_text(f"{started.pid} {began(started.pid)}")

    _child: subprocess.Popen[bytes] | None = None

    def pid(self) -> int | None:
        """Return the process's id, None where it has ended."""
        if self._child is not None and self._child.poll() is not None:
            return None
        try:
            number, at = self._file.read_text().split()
            pid = int(number)
        except (OSError, ValueError):
            return None
        # The kernel may have given the id to another process meanwhile.
        return pid if began(pid) == at else None

    def stopped(self) -> bool:
        """Say whether the process is stopped by a signal (SIGSTOP): alive, but not running."""
        with contextlib.suppress(psutil.Error):
            pid = self.pid()
            return pid is not None and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send a signal if the process still runs."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, *, patience: float = 0) -> None:
        """Terminate the process, and kill it if it still runs ``patience`` seconds later. Raises LabError."""
        if patience:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(NotObservedError):
                eventually(lambda: self.pid() is None, within=patience, every=0.02)
        self.signal(signal.SIGKILL)
        try:
            eventually(lambda: self.pid() is None, within=10, every=0.02)
        except NotObservedError as error:
            raise LabError(f"process {self.pid()} ({self.name}) does not end") from error
        self._file.unlink(missing_ok=True)

    def tail(self, lines: int = 3) -> str:
        """Return the last lines of the log, joined into one."""
        return tail(self.log, lines)


def of_run(run: Path) -> list[Process]:
    """Return the processes that were started for the run with folder ``run`` and not ended through ``end``."""
    return [Process(run, path.stem) for path in sorted((run / _FOLDER).glob("*.pid"))]


def end_all(run: Path) -> int:
    """End every process of the run with folder ``run``; return how many were still running."""
    found = [process for process in of_run(run) if process.pid() is not None]
    for process in found:
        process.end()
    return len(found)


def began(pid: int) -> str:
    """Return when process ``pid`` started, in seconds after boot; empty where it has ended.

    Unlike the time of day, this does not change when the clock is set. A zombie has ended.
    """
    with contextlib.suppress(psutil.Error, ValueError):  # of a number that no process can have
        process = psutil.Process(pid)
        if process.status() != psutil.STATUS_ZOMBIE:
            return f"{process.create_time() - psutil.boot_time():.2f}"
    return ""


def state_of(pid: int, proc: Path = PROC) -> tuple[str, str]:
    """Return the name of process ``pid`` and its state, a letter as in proc(5); both empty where it ended.

    ``proc`` may be the procfs of a container, which has the numbers that are valid inside.
    """
    try:
        stat = (proc / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return "", ""
    # The name may have blanks and brackets.
    name, _, rest = stat.partition("(")[2].rpartition(")")
    return name, rest.split()[0]


def command_lines() -> Iterator[tuple[int, list[str]]]:
    """Yield the id and the command line of every process; the kernel's own threads have an empty one."""
    for process in psutil.process_iter(["cmdline"]):
        yield process.pid, process.info["cmdline"] or []


def children(pid: int) -> list[int]:
    """Return the ids of the children of process ``pid``; none where it has ended."""
    with contextlib.suppress(psutil.Error):
        return [child.pid for child in psutil.Process(pid).children()]
    return []


def tail(log: Path, lines: int = 3) -> str:
    """Return the last lines of a file joined into one; empty where there is no file."""
    try:
        text = log.read_text(errors="replace")
    except OSError:
        return ""
    return " | ".join(text.strip().splitlines()[-lines:])


def run_tool(argv: Sequence[str], given: str = "", timeout: float = 120) -> None:
    """Run a tool with ``given`` as its input. Raises LabError with its error output where it fails."""
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]} failed: {done.stderr.strip() or done.returncode}")
