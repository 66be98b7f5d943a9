"""The container substrate: a member is a nested system container on the lab host."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import PROJECT
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import namespaces, preseeds
from clusterproof.lab.substrates.machine import (
    BOOTED,
    PATIENCE,
    PORT,
    CommandTimeoutError,
    Result,
    Watched,
    check_limit,
    limited,
)
from clusterproof.lab.substrates.server_instance import Instance

# Seconds for booting, and for reading or writing a file of any size.
BOOT = 60.0
FILE = 60.0
# Server error for a command that was not started, which sometimes happens on a busy host.
NOT_ENTERED = "Failed to retrieve PID of executing child process"

# Standard input may be a join token, so that its file is removed before the command runs.
WITH_STDIN = 'exec 3<"$1"; rm "$1"; shift; exec "$@" <&3 3<&-'

T = TypeVar("T")

_stdin_numbers = itertools.count(1)


class Containers:
    """The substrate whose machines are containers on ``host``."""

    name = "container"

    def __init__(self, host: Host) -> None:
        self.host = host

    def machine(self, name: str, image: Image, number: int) -> Container:  # noqa: ARG002
        """Return the container ``name``, which does not exist yet."""
        return Container(self.host, name, image)

    def check_room(self) -> None:
        """Raise LabError where the host does not answer, lost what the lab has there, or its pool is full."""
        self.host.check_room()


class Container(Instance):
    """A member's machine as a container on the lab host."""

    substrate = "container"
    emulated = False

    def __init__(
        self,
        host: Host,
        name: str,
        image: Image,
        address: str | None = None,
        config: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(host, name, image, address)
        # Configuration of this instance beyond that of every member.
        self._config = dict(config or {})
        # How to enter it while it runs without the host; None where that is impossible.
        self._inside: namespaces.Namespaces | None = None

    def start(self) -> None:
        """Start the container and wait until it has booted. Raises LabError after 60 seconds."""
        self._state("start", timeout=BOOT)
        self.should_run = True
        self._inside = namespaces.of(f"{PROJECT}_{self.name}")
        try:
            booted = self.execute(["sh", "-c", BOOTED], timeout=BOOT)
        except CommandTimeoutError as error:
            raise LabError(f"member {self.name} did not boot within {BOOT:g} s") from error
        if not booted.ok:
            raise LabError(f"member {self.name} did not boot: {booted.stderr.strip() or booted.rc}")

    def running(self) -> bool:
        """Say whether the container runs; the server may learn that its first process ended a moment later."""
        if self._inside and not self._inside.alive() and namespaces.of(f"{PROJECT}_{self.name}") is None:
            return False
        return super().running()

    def watched(self) -> Watched | None:
        """Return what can be watched of it from this computer, None while it does not run or is elsewhere."""
        inside = self._entered()
        if inside is None:
            return None
        # Commands have a cgroup beside those that the container's init makes.
        whole = inside.group.parent.parent if inside.group else None
        facts = self.image.facts
        service = whole / "system.slice" / facts.units.service / "cgroup.procs" if whole else None
        return Watched(inside.pid, inside.began, self.address, service, facts.pid_file)

    @staticmethod
    def console() -> str:
        """Return an empty text: all messages of a container are in its journal."""
        return ""

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root in the container.

        timeout(1) enforces the limit inside, so that nothing is left running there.
        """
        began = time.monotonic()
        if inside := self._entered():
            command = limited(argv, timeout)
            result = self._enter(
                "run a command in", lambda: inside.run(command, timeout=timeout + PATIENCE, stdin=stdin)
            )
        else:
            result = self._ask(argv, timeout, stdin)
        return check_limit(self.name, argv, result, time.monotonic() - began, timeout)

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        if inside := self._entered():
            content = self._enter(f"read {path} of", lambda: inside.read(path, timeout=FILE))
            if content is None:
                raise FileNotFoundError(f"{self.name} has no file {path}")
            return content
        try:
            return self.host.api.raw(f"instances/{self.name}/files", path=path)
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004
                raise FileNotFoundError(f"{self.name} has no file {path}") from error
            raise LabError(f"cannot read {path} of member {self.name}: {error}") from error

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file, owned by root."""
        if inside := self._entered():
            self._enter(f"write {path} of", lambda: inside.write(path, content, mode, timeout=FILE))
            return
        headers = {
            f"X-{product}-{key}": value
            for product in ("Incus", "LXD")
            for key, value in {
                "uid": "0",
                "gid": "0",
                "mode": f"{mode:04o}",
                "type": "file",
                "write": "overwrite",
            }.items()
        }
        self._lab(
            f"write {path} of",
            lambda: self.host.api.upload(
                f"instances/{self.name}/files",
                content,
                {**headers, "Content-Type": "application/octet-stream"},
                path=path,
            ),
        )

    def _volume_form(self) -> dict[str, Any]:
        return {"content_type": "filesystem"}

    def _document(self, **common: object) -> dict[str, Any]:
        network = self.host.gateway
        body = preseeds.document(
            "member",
            **common,
            fingerprint=self.image.fingerprint,
            prefix=network.network.prefixlen,
            gateway=str(network.ip),
            state_dir=self.image.facts.state_dir,
            forwarded=self._forwarded,
            port=PORT,
        )
        body["config"] |= self._config
        return body

    def _state(self, action: str, *, force: bool = False, timeout: float) -> None:
        self._inside = None
        super()._state(action, force=force, timeout=timeout)

    def _entered(self) -> namespaces.Namespaces | None:
        """Return how to enter the container without the host, None while that is impossible."""
        return self._inside if self._inside and self._inside.alive() else None

    def _enter(self, doing: str, call: Callable[[], T]) -> T:
        """Return the result of ``call``, which enters the container; a failure to do so is the lab's fault."""
        try:
            return call()
        except (LabError, OSError) as error:
            raise LabError(f"cannot {doing} member {self.name}: {error}") from error

    def _ask(self, argv: list[str], timeout: float, stdin: bytes | None) -> Result:
        """Run ``argv`` through the host's API."""
        command = limited(argv, timeout)
        if stdin is not None:
            path = f"/run/clusterproof-stdin-{next(_stdin_numbers)}"
            self.write(path, stdin, 0o600)
            command = ["sh", "-c", WITH_STDIN, "sh", path, *command]
        try:
            answer = self._exec(command, timeout + PATIENCE)
        except ApiError as error:
            # The server reports these two as errors; timeout(1) returns the same status as the shell.
            for words, rc in (("Command not found", 127), ("Command not executable", 126)):
                if words in str(error):
                    return Result(rc, "", f"{argv[0]}: {words.lower()}")
            raise LabError(f"cannot run a command in member {self.name}: {error}") from error
        output = {
            stream: self._recorded(path.removeprefix("/1.0/"))
            for stream, path in answer["output"].items()
        }
        return Result(answer["return"], output["1"], output["2"])

    def _exec(self, command: list[str], timeout: float, attempts: int = 3) -> dict[str, Any]:
        """Return the metadata of the finished operation that ran ``command``."""
        body = {
            "command": command,
            "record-output": True,
            "wait-for-websocket": False,
            "interactive": False,
            "environment": {"LC_ALL": "C.UTF-8"},
        }
        try:
            done: dict[str, Any] = self.host.api.post(f"instances/{self.name}/exec", body, timeout=timeout)
        except ApiError as error:
            # The server could not enter the container, or killed what it had started there.
            if NOT_ENTERED not in str(error) or attempts == 1:
                raise
            return self._exec(command, timeout, attempts - 1)
        found: dict[str, Any] = done["metadata"]
        return found

    def _recorded(self, path: str) -> str:
        """Return recorded output; it is deleted with the instance, as deleting it alone would cost time."""
        output: bytes = self._lab("read the output of", lambda: self.host.api.raw(path))
        return output.decode(errors="replace")
