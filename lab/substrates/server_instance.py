"""What is common to members that are instances of the lab host: containers and VMs."""

from __future__ import annotations

import random
from typing import Any

from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import owner
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import MARK, NETWORK, POOL, interface
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates.machine import PORT, Watched

# The range of ports on a remote host that forward to members.
FORWARDED = (20_000, 59_999)
CREATE = 120.0
FREEZE = 60.0


class Instance:
    """A member's machine as an instance of the lab host; ``name`` is its name there."""

    def __init__(self, host: Host, name: str, image: Image, address: str | None = None) -> None:
        self.host = host
        self.name = name
        self.image = image
        self.volume = f"{name}-state"
        self.address = address or host.reserve_address()
        # The port of a remote host that forwards to the product's API; None where the bridge is local.
        self._forwarded = None if host.direct else forwarded_port()
        # The member of a clustered host that carries it, chosen by the host's scheduler.
        self._location = ""
        # Whether it runs unless something other than the scenario stopped it.
        self.should_run = False

    def _document(self, **common: object) -> dict[str, Any]:
        """Return the instance as the API takes it; ``common`` are the values that all members have."""
        raise NotImplementedError

    def _volume_form(self) -> dict[str, Any]:
        """Return the properties of the volume for the product's state."""
        raise NotImplementedError

    def create(self) -> None:
        """Make the state volume and the instance, without starting it."""
        if not self.host.members:
            self._create_volume()
            self._create_instance()
            return
        # The scheduler places the instance; its volume has to be on the same member of the host.
        state = self._create_instance(without=("state",))
        self._lab("locate", self._locate)
        self._create_volume(on=self._location)
        self._lab(
            "create",
            lambda: self.host.api.patch(f"instances/{self.name}", {"devices": state}),
        )

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:
        """Shut the instance down, or kill it with ``force``."""
        self.should_run = False
        self._state("stop", force=force, timeout=timeout)

    def freeze(self) -> None:
        """Pause its processors or processes."""
        self._state("freeze", timeout=FREEZE)

    def reimage(self, image: Image) -> None:
        """Make the instance again from ``image``, keeping its state volume, without starting it."""
        self.should_run = False
        self.host.delete_instance(self.name)
        self.image = image
        self._create_instance(on=self._location)

    def destroy(self) -> None:
        """Delete the instance and its volume, and release its address."""
        self.host.delete_instance(self.name)
        self.host.delete_volume(self.volume)
        self.host.run.release(self.address)

    @property
    def endpoint(self) -> str:
        """The URL at which the product's API is reached from here."""
        if self._forwarded is None:
            return f"https://{self.address}:{PORT}"
        if self.host.members and not self._location:
            self._lab("locate", self._locate)
        return f"https://{self.host.address_of(self._location)}:{self._forwarded}"

    def running(self) -> bool:
        """Say whether the instance runs."""
        status: str = self._lab("inspect", lambda: self.host.api.get(f"instances/{self.name}"))["status"]
        return status == "Running"

    def watched(self) -> Watched | None:
        """Return what can be watched of it from this computer; here nothing."""
        return None

    def _locate(self) -> None:
        self._location = self.host.api.get(f"instances/{self.name}")["location"]

    def _create_volume(self, on: str = "") -> None:
        config = {f"{MARK}.run": self.host.run.id, f"{MARK}.owner": owner()}
        body = {"name": self.volume, "type": "custom", **self._volume_form(), "config": config}
        path = f"storage-pools/{POOL}/volumes/custom"
        where: dict[str, Any] = {"target": on} if on else {}
        self._lab("create", lambda: self.host.api.post(path, body, **where))

    def _create_instance(self, without: tuple[str, ...] = (), on: str = "") -> dict[str, Any]:
        """Make the instance, on member ``on`` of the host; return the devices ``without`` which it was made."""
        body = self._document(
            name=self.name,
            address=self.address,
            run=self.host.run.id,
            owner=owner(),
            pool=POOL,
            network=NETWORK,
            interface=interface(self.name),
            volume=self.volume,
        )
        left_out = {name: body["devices"].pop(name) for name in without}
        where: dict[str, Any] = {"target": on} if on else {}
        self._lab("create", lambda: self.host.api.post("instances", body, timeout=CREATE, **where))
        return left_out

    def _state(self, action: str, *, force: bool = False, timeout: float) -> None:
        body = {"action": action, "force": force, "timeout": int(timeout)}
        self._lab(
            action,
            lambda: self.host.api.put(f"instances/{self.name}/state", body, timeout=timeout + 10),
        )

    def _lab(self, doing: str, call: Any) -> Any:  # noqa: ANN401
        """Return the result of ``call``; a refusal by the host is the lab's fault, never the product's."""
        try:
            return call()
        except ApiError as error:
            raise LabError(f"cannot {doing} member {self.name}: {error}") from error


def forwarded_port() -> int:
    """Return a random port of a remote host for forwarding to a member."""
    return random.randint(*FORWARDED)  # noqa: S311 - no secret
