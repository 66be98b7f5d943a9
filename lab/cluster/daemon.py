"""The product's daemon on one member.

Debian starts it by socket activation, and starting its service waits ten minutes for a daemon that
cannot come up: hence ``--no-block`` everywhere, and the socket is stopped with the service.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from typing import Protocol

from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.cluster import packaging
from clusterproof.lab.cluster.go_binary import DAY, find_constant
from clusterproof.lab.cluster.packaging import Packaging
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.substrates.machine import Machine, Result

# Seconds for a start or a stop. No product promises one, and a busy computer takes its time.
READY = 120.0
# A daemon whose state and log have not changed for this long is taken for settled, and looked at no longer than
# that: one that waits for another member is never ready.
QUIET, SETTLING = 2.0, 20.0
# Offsets of a daily task's period in a daemon's binary, by the image's digest and the task.
_offsets: dict[tuple[str, str], int] = {}
DROP_IN = "/etc/systemd/system/{service}.d/clusterproof.conf"


class RunsDaemon(Protocol):
    """What a daemon needs of the member that it runs on."""

    name: str
    machine: Machine
    transcript: Transcript

    @property
    def facts(self) -> ProductFacts:
        """What the product is: names of its commands, units, folders."""

    def run(self, command: str | list[str], *, check: bool = False) -> Result:
        """Run a command as root; a string goes through the shell. Raises CommandError with ``check``."""

    def write(self, path: str, content: str | bytes) -> None:
        """Write a file, owned by root."""


@dataclass(frozen=True)
class DaemonState:
    """What systemd, the kernel and the daemon itself say of it at one moment.

    ``active`` and ``sub`` are systemd's states of the service, ``pid`` is the server's process (0 for none) and
    ``process`` that one's state in /proc (empty where there is none). ``logged`` is the size of its log (bytes).
    """

    active: str
    sub: str
    pid: int
    process: str
    ready: bool
    logged: int

    @property
    def settled(self) -> bool:
        """Whether it runs and is ready, or has ended and systemd has noticed."""
        if self.pid:
            return self.ready and self.process not in ("", "Z", "X")
        return self.active in ("inactive", "failed") and self.sub != "auto-restart"


class Daemon:
    """Starts, stops, kills and watches the daemon of one member. Times are seconds."""

    def __init__(self, member: RunsDaemon) -> None:
        self._member = member

    @property
    def packaging(self) -> Packaging:
        """How the build that the member runs now is packaged."""
        return packaging.of(self._member.facts)

    @property
    def _service(self) -> str:
        return self._member.facts.units.service

    def pid(self) -> int:
        """Return the process id of the server, 0 where it does not run."""
        return self._number(self.packaging.asks_pid)

    def _number(self, asks: str) -> int:
        """Return the number that the shell command ``asks`` prints, 0 where it prints none."""
        return int(self._member.run(asks).stdout.strip() or 0)

    def sees(self, path: str) -> str:
        """Return ``path`` of the member as the daemon sees it (see Member.run, ``beside_daemon``)."""
        return self.packaging.seen(path)

    def start(self, *, wait: bool = False) -> None:
        """Start socket and service; with ``wait`` until the daemon is ready (see wait_ready).

        Raises CommandError where systemd refuses, NotObservedError where it does not get ready.
        """
        self._member.run(self.packaging.start, check=True)
        if wait:
            self.wait_ready()

    def stop(self) -> None:
        """Stop the daemon so that no client's call starts it again; its instances keep running."""
        self._member.run(self.packaging.stop)
        self._wait_ended("stopped")

    def restart(self, *, wait: bool = False) -> None:
        """Stop and start the daemon; with ``wait`` until it is ready (see wait_ready)."""
        self.stop()
        self.start(wait=wait)

    def kill(self) -> None:
        """Kill the daemon (signal 9) for good; its instances keep running."""
        with self._member.transcript.step("fault", self._member.name, "kill -9 of the daemon"):
            self._member.run(self.packaging.kill)
        self._wait_ended("killed")

    def _wait_ended(self, how: str) -> None:
        asks = self.packaging.asks_left
        eventually(
            lambda: self._number(asks) == 0, within=READY, what=f"{self._member.name}: daemon {how}"
        )

    def set_environment(self, **variables: str | None) -> None:
        """Set or (with None) unset environment variables of the daemon; takes effect at its next start."""
        path = DROP_IN.format(service=self._service)
        lines = [f'Environment="{key}={value}"\n' for key, value in variables.items() if value is not None]
        if lines:
            self._member.run(["mkdir", "-p", path.rpartition("/")[0]], check=True)
            self._member.write(path, "[Service]\n" + "".join(lines))
        else:
            self._member.run(["rm", "-f", path], check=True)
        self._member.run(["systemctl", "daemon-reload"], check=True)

    def run_daily_task_every(self, task: str, seconds: int) -> None:
        """Shorten the interval of the daily ``task`` (the Go function that schedules it) to ``seconds``.

        Only the interval is changed, in the product's own binary on the member; it takes effect at the next
        start of the daemon. Raises LabError where the interval cannot be located beyond doubt.
        """
        member, into = self._member, self.packaging.replaced_by
        what = f"accelerated: {task} runs every {seconds} s instead of every 24 h"
        with member.transcript.step("fault", member.name, what) as step:
            path = self._program()
            step["offset"] = offset = self._offset_of(path, task)
            octal = "".join(f"\\{byte:03o}" for byte in (seconds * 10**9).to_bytes(8, "little"))
            # The file of a running program cannot be written to, so a changed copy replaces it.
            changed = member.run(
                f"cp --preserve=all {path} {into}.new && printf '{octal}' | dd of={into}.new bs=1 "
                f"seek={offset} conv=notrunc status=none && mv {into}.new {into}"
            )
            if not changed.ok:
                raise LabError(f"{member.name}: cannot change {into}: {changed.stderr.strip()}")

    def _program(self) -> str:
        """Return where the server's program is: the first of the places for it that does not hold a script."""
        for path in self.packaging.programs[:-1]:
            if self._member.run(f"head -c 4 {path} | grep -q ELF").ok:
                return path
        return self.packaging.programs[-1]

    def _offset_of(self, path: str, task: str) -> int:
        """Return where the daemon's binary has the period of ``task``: the same for all members of an image."""
        known = self._member.machine.image.digest, task
        if known not in _offsets:
            binary = self._member.machine.read(path)
            _offsets[known] = find_constant(binary, task, DAY)
        return _offsets[known]

    def is_ready(self) -> bool:
        """Say whether the daemon reports that it is ready."""
        return self._member.run(self._asks_ready).ok

    @property
    def _asks_ready(self) -> str:
        """The shell command that asks the daemon."""
        return (
            f"systemctl is-active --quiet {self._service} || test $({self.packaging.asks_pid}) != 0 "
            f"&& curl --silent --fail --max-time 5 --unix-socket {self._member.facts.socket} "
            "http://daemon/internal/ready"
        )

    def wait_ready(self, within: float = READY) -> None:
        """Wait until the daemon is ready. Raises NotObservedError after ``within`` seconds."""
        # Asking repeatedly for two seconds costs less inside the member than from outside.
        several = (
            f"end=$(($(date +%s) + 2)); until {{ {self._asks_ready}; }}; "
            'do [ "$(date +%s)" -lt "$end" ] || exit 1; sleep 0.1; done'
        )
        eventually(
            lambda: self._member.run(several).ok,
            within=within,
            what=f"{self._member.name}: daemon ready",
        )

    def state(self) -> DaemonState:
        """Return what the daemon does at this moment."""
        seen = self._member.run(
            "export LC_ALL=C; "
            f"pid=$({self.packaging.asks_pid}); echo Pid=$pid; "
            f"systemctl show --property=ActiveState,SubState {self._service}; "
            'echo "Process=$(sed "s/.*) //; s/ .*//" /proc/$pid/stat 2>/dev/null)"; '
            f"echo Ready=$(curl --silent --fail --max-time 5 --unix-socket {self._member.facts.socket} "
            "http://daemon/internal/ready >/dev/null 2>&1 && echo yes); "
            f"echo Logged=$( {{ cat {self._log_files} 2>/dev/null; "
            f"journalctl --no-pager --output=cat {self.packaging.journal}; }} | wc --bytes)"
        ).stdout
        found = dict(line.split("=", 1) for line in seen.splitlines() if "=" in line)
        return DaemonState(
            active=found.get("ActiveState", ""),
            sub=found.get("SubState", ""),
            pid=int(found.get("Pid") or 0),
            process=found.get("Process", ""),
            ready=found.get("Ready") == "yes",
            logged=int(found.get("Logged") or 0),
        )

    def settle(self) -> None:
        """Wait until the daemon is settled and everything that it has logged can be read.

        That is when it runs and is ready, or has ended and systemd knows; or, for a daemon that waits for
        another member, when nothing of its state or log has changed for a moment. Gives up after SETTLING
        seconds: a daemon that is started again and again never settles.
        """
        last: DaemonState | None = None
        changed = time.monotonic()

        def is_settled() -> bool:
            nonlocal changed, last
            before, last = last, self.state()
            if last != before:
                changed = time.monotonic()
            # Seen twice, as a process may end between two looks; one that runs may log in between.
            if before and before.settled and last.settled:
                return last == before if not last.pid else last.pid == before.pid
            return time.monotonic() - changed >= QUIET

        with contextlib.suppress(NotObservedError):
            eventually(is_settled, within=SETTLING, what=f"{self._member.name}: daemon settled")
        self._member.run(["journalctl", "--sync"])

    @property
    def _log_files(self) -> str:
        name, folder = self._member.facts.name, self._member.facts.log_dir
        return f"{folder}/{name}d.log {folder}/{name}.log"

    def log(self) -> str:
        """Return everything the daemon has logged since the member was made: its log file and journal."""
        return self._member.run(
            f"cat {self._log_files} 2>/dev/null; "
            f"journalctl --no-pager --output=short-iso-precise {self.packaging.journal}"
        ).stdout
