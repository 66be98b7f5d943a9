"""The commands that make an image: guarded, their output in a log, their failures explained in one line."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from clusterproof.lab.core.errors import LabError

Progress = Callable[[str], None]

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
# mmdebstrap's messages that are of no use to a person who waits.
NOT_SHOWN = (
    b"I: chroot architecture",
    b"I: finding correct",
    b"I: main() received",
    b"I: running --",
    b"I: success",
)
# mmdebstrap's errors that only repeat that there was one.
REPETITION = re.compile(r"mmdebstrap failed to run|-oAPT::Status-Fd=|Some index files failed to download")


class StoppedError(LabError):
    """Making the image was cancelled by the caller."""


class LoggedCommands:
    """Runs commands, all output going to ``log`` and mmdebstrap's milestones to ``progress``.

    ``build`` and ``archive`` (the address of Debian's) are for messages; setting ``stop`` ends a command.
    """

    def __init__(
        self, build: str, log: Path, progress: Progress, stop: threading.Event, archive: str | None
    ) -> None:
        self._build = build
        self._log = log
        self._progress = progress
        self._stop = stop
        self._archive = archive

    def run(self, argv: list[str]) -> None:
        """Run ``argv``. Whatever ends this early also ends every process of the command, and its mounts.

        Raises LabError, with the reason from the log, where it fails, and StoppedError.
        """
        with self._log.open("a", encoding="utf-8") as log:
            log.write(f"$ {shlex.join(argv)}\n")
            log.flush()
            position = log.tell()
            process = subprocess.Popen(
                guarded(argv),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env=_environment(),
            )
            try:
                ended = False
                while not ended:
                    if self._stop.is_set():
                        raise StoppedError(f"making the image of {self._build} was cancelled")
                    try:
                        process.wait(timeout=0.2)
                        ended = True
                    except subprocess.TimeoutExpired:
                        pass
                    position = self._milestones(position)
            finally:
                _kill(process)
        if process.returncode != 0:
            raise LabError(self._why(argv[0], process.returncode))

    def _milestones(self, position: int) -> int:
        """Report mmdebstrap's messages in the log after ``position``; return its new end."""
        with self._log.open("rb") as log:
            log.seek(position)
            lines = log.read().split(b"\n")
        for line in lines[:-1]:
            if line.startswith(b"I: ") and not line.startswith(NOT_SHOWN):
                self._progress(line[3:].decode("utf-8", "replace").rstrip("."))
            position += len(line) + 1
        return position

    def _why(self, tool: str, code: int) -> str:
        end = explain(self._log.read_text("utf-8", errors="replace"))
        where = self._archive or "mmdebstrap's default archive"
        return (
            f"the image of {self._build} could not be made: "
            f"{tool} ended with {code}: {end.format(into=self._log.parent, archive=where)}; "
            f"its whole output is in {self._log}"
        )


def guarded(argv: list[str]) -> list[str]:
    """Return the command that runs ``argv`` under the guard."""
    return [*GUARD, *argv]


def explain(output: str) -> str:
    """Return in one line why ``output`` of mmdebstrap or mksquashfs ends in a failure.

    May contain ``{into}`` and ``{archive}`` for the caller to fill in.
    """
    if re.search(r"no space left on device|not have enough free space", output, re.IGNORECASE):
        return "no space left on the disk of {into}, make room there or set LAB_DIR"
    last = _errors(output).replace("{", "{{").replace("}", "}}")
    network = (
        r"could not resolve|temporary failure (in name resolution|resolving)|could not connect"
        r"|cannot initiate the connection|connection (timed out|refused|failed)|network is unreachable"
    )
    if re.search(network, output, re.IGNORECASE):
        return f"{{archive}} cannot be reached, check the network or give --mirror ({last})"
    return last


def _errors(output: str, count: int = 3) -> str:
    """Return the last ``count`` lines of ``output`` that report an error, joined into one."""
    lines = [line.strip() for line in output.splitlines()]
    lines = [line for line in lines if line and not line.startswith("$ ") and not REPETITION.search(line)]
    errors = [line for line in lines if re.match(r"(E|W|Err|FATAL|error)[: ]|.*\berror\b", line)]
    chosen = list(dict.fromkeys(errors or lines))[-count:]
    return " / ".join(chosen) if chosen else "there was no output"


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End ``process`` and all that it started; it leads its own process group."""
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
