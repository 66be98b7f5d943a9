"""The container substrate: a member is a nested system container on the lab host."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Mapping
from typing import Any

from lab import preseeds
from lab.api import ApiError
from lab.errors import LabError
from lab.host import MARK, NETWORK, POOL, Host, owner
from lab.image import Image
from lab.machine import BOOTED, GRACE, PORT, CommandTimeoutError, Result, check_limit, limited

BOOT = 60.0
# From which ports those are drawn that lead to members of a host elsewhere.
FORWARDED = (20_000, 59_999)
# How a server says that a command was not begun; it happens now and then, on a busy host.
NOT_ENTERED = "Failed to retrieve PID of executing child process"

# What is given on standard input may be a join token: nothing of it stays behind.
WITH_STDIN = 'exec 3<"$1"; rm "$1"; shift; exec "$@" <&3 3<&-'

_stdin_numbers = itertools.count(1)


class Containers:
    """The substrate whose machines are containers of ``host``."""

    name = "container"

    def __init__(self, host: Host) -> None:
        self.host = host

    def machine(self, name: str, image: Image, number: int) -> Container:  # noqa: ARG002
        """Return the container called ``name``; it is not made yet."""
        return Container(self.host, name, image)

    def resume(self, name: str, image: Image, address: str) -> Container:
        """Return a container that another process made and left running."""
        return Container(self.host, name, image, address)

    def check_room(self) -> None:
        """Raise LabError where the host does not answer or its pool is as good as full."""
        self.host.check_room()


class Container:
    """A member's machine as a container of the lab host; ``name`` is the instance's name there."""

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
        self.host = host
        # Configuration of the instance beside that of every member.
        self._config = dict(config or {})
        self.name = name
        self.image = image
        self.volume = f"{name}-state"
        self.address = address or host.reserve_address()
        # The port of a host elsewhere that leads to the product's API; None where the bridge is here.
        self._forwarded = None if host.direct else random.randint(*FORWARDED)  # noqa: S311 - no secret
        # The machine of the host that carries it, as the host's scheduler has chosen.
        self._machine = ""
        # Whether it runs unless something that is not the scenario stopped it.
        self.should_run = False

    def create(self) -> None:
        """Make the state volume and the instance; it is not started yet."""
        if not self.host.machines:
            self._create_volume()
            self._create_instance()
            return
        # The scheduler places the instance; its volume has to be on the same machine.
        state = self._create_instance(without=("state",))
        self._lab("look at", self._locate)
        self._create_volume(on=self._machine)
        self._lab(
            "create",
            lambda: self.host.api.patch(f"instances/{self.name}", {"devices": state}),
        )

    def start(self) -> None:
        """Start the instance and wait until its system is up. Raises LabError after 60 seconds."""
        self._state("start", timeout=BOOT)
        self.should_run = True
        try:
            booted = self.execute(["sh", "-c", BOOTED], timeout=BOOT)
        except CommandTimeoutError as error:
            raise LabError(f"member {self.name} did not boot within {BOOT:g} s") from error
        if not booted.ok:
            raise LabError(f"member {self.name} did not boot: {booted.stderr.strip() or booted.rc}")

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the instance down, or kill it with ``force``."""
        self.should_run = False
        self._state("stop", force=force, timeout=timeout)

    def freeze(self) -> None:
        """Let the container's processes stand still."""
        self._state("freeze", timeout=BOOT)

    def reimage(self, image: Image) -> None:
        """Make the instance anew from ``image`` over the kept state volume; it is not started."""
        self.should_run = False
        self.host.delete_instance(self.name)
        self.image = image
        self._create_instance(on=self._machine)

    def destroy(self) -> None:
        """Delete the instance, its volume and its address."""
        self.host.delete_instance(self.name)
        self.host.delete_volume(self.volume)
        self.host.run.release(self.address)

    @property
    def endpoint(self) -> str:
        """The URL of the product's API, as it is reached from here."""
        if self._forwarded is None:
            return f"https://{self.address}:{PORT}"
        if self.host.machines and not self._machine:
            self._lab("look at", self._locate)
        return f"https://{self.host.address_of(self._machine)}:{self._forwarded}"

    def running(self) -> bool:
        """Say whether the instance runs."""
        status: str = self._lab("look at", lambda: self.host.api.get(f"instances/{self.name}"))["status"]
        return status == "Running"

    @staticmethod
    def console() -> str:
        """Return nothing: a container's journal has it all."""
        return ""

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv`` as root in the container.

        The time limit is kept by timeout(1) inside, so that nothing goes on running afterwards.
        """
        command = limited(argv, timeout)
        if stdin is not None:
            path = f"/run/clusterproof-stdin-{next(_stdin_numbers)}"
            self.write(path, stdin, 0o600)
            command = ["sh", "-c", WITH_STDIN, "sh", path, *command]
        began = time.monotonic()
        try:
            answer = self._exec(command, timeout + 3 * GRACE)
        except ApiError as error:
            # The server makes errors of these two; timeout(1) ends with them as the shell does.
            for words, rc in (("Command not found", 127), ("Command not executable", 126)):
                if words in str(error):
                    return Result(rc, "", f"{argv[0]}: {words.lower()}")
            raise LabError(f"cannot run a command in member {self.name}: {error}") from error
        lasted = time.monotonic() - began
        output = {
            stream: self._recorded(path.removeprefix("/1.0/"))
            for stream, path in answer["output"].items()
        }
        result = Result(answer["return"], output["1"], output["2"])
        return check_limit(self.name, argv, result, lasted, timeout)

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        try:
            return self.host.api.raw(f"instances/{self.name}/files", path=path)
        except ApiError as error:
            if error.status == 404:  # noqa: PLR2004
                raise FileNotFoundError(f"{self.name} has no file {path}") from error
            raise LabError(f"cannot read {path} of member {self.name}: {error}") from error

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        """Write a file, owned by root."""
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

    def _locate(self) -> None:
        self._machine = self.host.api.get(f"instances/{self.name}")["location"]

    def _create_volume(self, on: str = "") -> None:
        config = {f"{MARK}.run": self.host.run.id, f"{MARK}.owner": owner()}
        body = {"name": self.volume, "type": "custom", "content_type": "filesystem", "config": config}
        path = f"storage-pools/{POOL}/volumes/custom"
        where: dict[str, Any] = {"target": on} if on else {}
        self._lab("create", lambda: self.host.api.post(path, body, **where))

    def _create_instance(self, without: tuple[str, ...] = (), on: str = "") -> dict[str, Any]:
        """Make the instance ``without`` some of its devices, which are returned; ``on`` is a machine."""
        network = self.host.gateway
        body = preseeds.document(
            "member",
            name=self.name,
            fingerprint=self.image.fingerprint,
            address=self.address,
            prefix=network.network.prefixlen,
            gateway=str(network.ip),
            run=self.host.run.id,
            owner=owner(),
            pool=POOL,
            network=NETWORK,
            volume=self.volume,
            state_dir=self.image.facts.state_dir,
            forwarded=self._forwarded,
            port=PORT,
        )
        body["config"] |= self._config
        left_out = {name: body["devices"].pop(name) for name in without}
        where: dict[str, Any] = {"target": on} if on else {}
        self._lab("create", lambda: self.host.api.post("instances", body, timeout=120, **where))
        return left_out

    def _state(self, action: str, *, force: bool = False, timeout: float) -> None:
        body = {"action": action, "force": force, "timeout": int(timeout)}
        self._lab(
            action,
            lambda: self.host.api.put(f"instances/{self.name}/state", body, timeout=timeout + 10),
        )

    def _exec(self, command: list[str], timeout: float, attempts: int = 3) -> dict[str, Any]:
        """Return the metadata of the finished operation that has run ``command``."""
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
            # The server could not enter the container, or has killed what it had started there.
            if NOT_ENTERED not in str(error) or attempts == 1:
                raise
            return self._exec(command, timeout, attempts - 1)
        found: dict[str, Any] = done["metadata"]
        return found

    def _recorded(self, path: str) -> str:
        output: bytes = self._lab("read the output of", lambda: self.host.api.raw(path))
        with contextlib.suppress(ApiError):
            self.host.api.delete(path)
        return output.decode(errors="replace")

    def _lab(self, doing: str, call: Any) -> Any:  # noqa: ANN401
        """Return what ``call`` returns; what the host refuses is the lab's fault, never the product's."""
        try:
            return call()
        except ApiError as error:
            raise LabError(f"cannot {doing} member {self.name}: {error}") from error
