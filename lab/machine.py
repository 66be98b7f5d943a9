"""What a member is made of: the contract that every substrate keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from lab.image import Image

# Where a product's API listens on a member.
PORT = 8443


class CommandTimeoutError(Exception):
    """A command in a member was still running when its time was up, and was killed."""


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


class Machine(Protocol):
    """One throwaway machine. Times are in seconds; every failure of the machine itself is a LabError."""

    name: str
    address: str
    substrate: str
    image: Image
    should_run: bool

    @property
    def endpoint(self) -> str:
        """The URL of the product's API on the machine, as it is reached from here."""

    def create(self) -> None:
        """Make the machine from its image, its product's state on a volume of its own."""

    def start(self) -> None:
        """Start the machine and wait until its init system has finished starting."""

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the machine down, or cut its power with ``force``."""

    def reimage(self, image: Image) -> None:
        """Replace everything but the product's state by another image; the machine is stopped after."""

    def destroy(self) -> None:
        """Remove the machine and its state."""

    def running(self) -> bool:
        """Say whether the machine runs."""

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root. Raises CommandTimeoutError after ``timeout``."""

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file."""
