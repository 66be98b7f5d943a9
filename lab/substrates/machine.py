"""What a member is made of: the protocols that every substrate implements."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clusterproof.lab.core.processes import PROC, state_of
from clusterproof.lab.core.redaction import redact
from clusterproof.lab.images.image import Image

# The port of a product's API on a member.
PORT = 8443
# Seconds that a terminated command has before it is killed.
GRACE = 5
# Seconds beyond a command's own limit for which its end is awaited.
PATIENCE = 3 * GRACE
# A member counts as booted once basic.target and D-Bus are up. Later jobs are not awaited: after a change of
# build the product's own units may wait for other members or for a daemon that cannot start. In the first moment
# systemd's socket does not exist yet.
BOOTED = (
    "until [ -S /run/systemd/private ]; do sleep 0.02; done; "
    "until systemctl start basic.target dbus.service; do sleep 0.05; done"
)
# The exit statuses of timeout(1) of coreutils for a command that it ended by TERM and by KILL.
TIMED_OUT = (124, 137)


class CommandTimeoutError(Exception):
    """A command in a member reached its time limit and was killed."""


def limited(argv: list[str], timeout: float) -> list[str]:
    """Return the command that runs ``argv`` for at most ``timeout`` seconds.

    The limit is enforced inside the member, so that nothing is left running there.
    """
    return ["timeout", f"--kill-after={GRACE}", f"{timeout:g}", *argv]


@dataclass(frozen=True)
class Result:
    """The result of a command in a member: exit status and both outputs."""

    rc: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the exit status is 0."""
        return self.rc == 0


def check_limit(name: str, argv: list[str], result: Result, lasted: float, timeout: float) -> Result:
    """Return ``result``, of ``limited(argv, timeout)`` on member ``name``, which took ``lasted`` seconds.

    Raises CommandTimeoutError where the command reached the limit.
    """
    # A command may return the same status by itself, but earlier.
    if result.rc in TIMED_OUT and lasted >= timeout:
        what, output = redact(" ".join(argv)), redact(result.stdout + result.stderr)[-500:]
        raise CommandTimeoutError(
            f"{name}: {what!r} was still running after {timeout:g} s; output so far: {output!r}"
        )
    return result


@dataclass(frozen=True)
class Watched:
    """What this computer sees of a running machine: its first process, its address, its service's processes.

    ``service`` is the cgroup.procs file with the processes of the product's service, None where there is none.
    ``server`` is where the machine has the number of a server that is not among them, empty for none.
    """

    pid: int
    began: str
    address: str
    service: Path | None
    server: str = ""

    def stopped(self) -> str:
        """Return which process is stopped by a signal: the first one or one of the service; empty for none."""
        for pid in (self.pid, *self._of_service()):
            name, state = state_of(pid)
            if state == "T":
                return "the first process" if pid == self.pid else name
        name, state = self._of_server()
        return name if state == "T" else ""

    def _of_service(self) -> list[int]:
        try:
            return [int(line) for line in self.service.read_text().split()] if self.service else []
        except OSError:
            return []

    def _of_server(self) -> tuple[str, str]:
        """Return name and state of ``server``, which the machine knows by this number; both empty for none."""
        if not self.server:
            return "", ""
        root = PROC / str(self.pid) / "root"
        file = root / self.server.lstrip("/")
        try:
            number = int(file.read_text())
        except (OSError, ValueError):
            return "", ""
        name, state = state_of(number, root / "proc")
        # Another process may have the number of one that has ended.
        return (name, state) if name.startswith(file.stem) else ("", "")


class Machine(Protocol):
    """One throwaway machine. Times are in seconds. Raises LabError where the machine itself fails.

    ``should_run`` says whether it runs unless something other than the scenario stopped it.
    """

    name: str
    address: str
    substrate: str
    image: Image
    should_run: bool

    @property
    def emulated(self) -> bool:
        """Whether its processors are emulated, so that those of a nested VM would be emulated twice."""

    @property
    def endpoint(self) -> str:
        """The URL at which the product's API on the machine is reached from here."""

    def create(self) -> None:
        """Make the machine from its image, with the product's state on a separate volume."""

    def start(self) -> None:
        """Start the machine and wait until it has booted."""

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the machine down, or cut its power with ``force``."""

    def freeze(self) -> None:
        """Pause the machine, as a starved host would; it counts as not running then."""

    def reimage(self, image: Image) -> None:
        """Replace everything but the product's state by another image, leaving the machine stopped."""

    def destroy(self) -> None:
        """Remove the machine and its state."""

    def running(self) -> bool:
        """Say whether the machine runs."""

    def watched(self) -> Watched | None:
        """Return what can be watched of it from this computer, None while it does not run or is elsewhere."""

    def console(self) -> str:
        """Return the output of its serial console; empty where it has none."""

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root. Raises CommandTimeoutError after ``timeout``."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file."""


class Substrate(Protocol):
    """What the members of one cluster are made of. Raises LabError where it fails."""

    name: str

    def machine(self, name: str, image: Image, number: int) -> Machine:
        """Return machine ``name``, the ``number``-th (from 1) of its cluster, which does not exist yet."""

    def check_room(self) -> None:
        """Raise LabError where the disk that holds the machines is full."""
