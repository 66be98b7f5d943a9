"""What a member is made of: the contract that every substrate keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from clusterproof.lab.core.redaction import redact
from clusterproof.lab.images.image import Image

# Where a product's API listens on a member.
PORT = 8443


# How long a killed command may take to be gone, in seconds.
GRACE = 5
# Seconds beyond a command's own limit after which its end is not waited for any more.
PATIENCE = 3 * GRACE
# Booted is what a member needs to be used. The last jobs are not waited for: among them the product's own
# units wait, after a change of build, for other members or for a daemon that cannot come up.
# For a moment nobody answers there yet.
BOOTED = (
    "until [ -S /run/systemd/private ]; do sleep 0.02; done; "
    "until systemctl start basic.target dbus.service; do sleep 0.05; done"
)
# What timeout(1) of coreutils returns when it had to end a command: by TERM, by KILL.
TIMED_OUT = (124, 137)


class CommandTimeoutError(Exception):
    """A command in a member was still running when its time was up, and was killed."""


def limited(argv: list[str], timeout: float) -> list[str]:
    """Return the command that runs ``argv`` for at most ``timeout`` seconds.

    The limit is kept inside the member, so that nothing goes on running there afterwards.
    """
    return ["timeout", f"--kill-after={GRACE}", f"{timeout:g}", *argv]


@dataclass(frozen=True)
class Result:
    """What a command in a member came to: exit status and both outputs."""

    rc: int
    stdout: str
    stderr: str

    @property
    def ok(self) -> bool:
        """Whether the command ended with 0."""
        return self.rc == 0


def check_limit(name: str, argv: list[str], result: Result, lasted: float, timeout: float) -> Result:
    """Return the result of ``limited(argv, timeout)`` on member ``name``, which took ``lasted`` seconds.

    Raises CommandTimeoutError where the limit ended the command.
    """
    # A command may end with the same status by itself, but not so late.
    if result.rc in TIMED_OUT and lasted >= timeout:
        said = redact(result.stdout + result.stderr)[-500:]
        raise CommandTimeoutError(
            f"{name}: {redact(' '.join(argv))!r} was still running after {timeout:g} s; so far: {said!r}"
        )
    return result


class Machine(Protocol):
    """One throwaway machine. Times are in seconds; every failure of the machine itself is a LabError."""

    name: str
    address: str
    substrate: str
    image: Image
    should_run: bool

    @property
    def emulated(self) -> bool:
        """Whether its processors are emulated, so that those of a machine inside it would be twice."""

    @property
    def endpoint(self) -> str:
        """The URL of the product's API on the machine, as it is reached from here."""

    def create(self) -> None:
        """Make the machine from its image, its product's state on a volume of its own."""

    def start(self) -> None:
        """Start the machine and wait until its init system has finished starting."""

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the machine down, or cut its power with ``force``."""

    def freeze(self) -> None:
        """Let the machine stand still, as one does whose host has no time for it; it counts as not running."""

    def reimage(self, image: Image) -> None:
        """Replace everything but the product's state by another image; the machine is stopped after."""

    def destroy(self) -> None:
        """Remove the machine and its state."""

    def running(self) -> bool:
        """Say whether the machine runs."""

    def console(self) -> str:
        """Return what the machine has said on its serial console; nothing where it has none."""

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root. Raises CommandTimeoutError after ``timeout``."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file."""


class Substrate(Protocol):
    """What the members of one cluster are made of; every failure is a LabError."""

    name: str

    def machine(self, name: str, image: Image, number: int) -> Machine:
        """Return the machine called ``name``, the ``number``-th (from 1) of its cluster; it is not made yet."""

    def check_room(self) -> None:
        """Raise LabError where there is no room left for what machines write."""
