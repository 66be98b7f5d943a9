"""Processes that a run leaves running beside it, and that end with it: machines, and what they need.

Each is known by a file in the run's folder, so that another process can find and end it: ``down``, or a
sweep after the run was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.waiting import NotObservedError, eventually

_FOLDER = "processes"
PROC = Path("/proc")


class Process:
    """One process: ``name`` is unique in its run, ``log`` has what it says on both outputs."""

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
        """Start ``argv``, which lives on when this process ends. Raises LabError where it cannot be started."""
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
        # Another process may have got the number meanwhile.
        return pid if began(pid) == at else None

    def stands_still(self) -> bool:
        """Say whether the process was stopped (SIGSTOP), so that it lives and does nothing."""
        pid = self.pid()
        return pid is not None and _stat(pid)[:1] == [b"T"]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        pid = self.pid()
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def end(self, *, patience: float = 0) -> None:
        """End the process: by TERM, ``patience`` seconds later by KILL. Raises LabError where it does not."""
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
        """Return the last words of the process, on one line."""
        return tail(self.log, lines)


def of_run(run: Path) -> list[Process]:
    """Return the processes that were started for the run whose folder is ``run`` and not ended."""
    return [Process(run, path.stem) for path in sorted((run / _FOLDER).glob("*.pid"))]


def end_all(run: Path) -> int:
    """End every process of the run whose folder is ``run``; return how many still ran."""
    found = [process for process in of_run(run) if process.pid() is not None]
    for process in found:
        process.end()
    return len(found)


def began(pid: int) -> str:
    """Return when process ``pid`` started, in clock ticks after boot; empty where there is none."""
    fields = _stat(pid)
    # A zombie has ended; only its parent has not noticed yet.
    return fields[19].decode() if fields and fields[0] != b"Z" else ""


def numbers() -> list[int]:
    """Return the ids of all processes of this machine."""
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def command_line(pid: int) -> bytes:
    """Return the words that process ``pid`` was started with, a zero byte after each; empty where it is gone."""
    return _read(PROC / f"{pid}/cmdline")


def children(pid: int) -> list[int]:
    """Return the processes that process ``pid`` has started."""
    return [int(child) for child in _read(PROC / f"{pid}/task/{pid}/children").split()]


def tail(log: Path, lines: int = 3) -> str:
    """Return the last lines of a file as one; nothing where there is none."""
    return " | ".join(_read(log).decode(errors="replace").strip().splitlines()[-lines:])


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> list[bytes]:
    """Return what the kernel says of process ``pid``, from its state on; nothing where there is none."""
    return _read(PROC / f"{pid}/stat").rpartition(b")")[2].split()


def run_tool(argv: Sequence[str], given: str = "", timeout: float = 120) -> None:
    """Run a tool that is to succeed, with ``given`` as its input. Raises LabError with its own words."""
    done = subprocess.run(argv, input=given, capture_output=True, text=True, timeout=timeout, check=False)
    if done.returncode != 0:
        raise LabError(f"{argv[0]} failed: {done.stderr.strip() or done.returncode}")
