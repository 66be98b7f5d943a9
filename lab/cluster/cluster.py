"""Clusters: members joined together, with an API client for each."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from clusterproof.lab.cluster.certificates import make_certificate
from clusterproof.lab.cluster.crash_watch import Crash, crashes
from clusterproof.lab.cluster.lab_watch import LabWatch
from clusterproof.lab.cluster.member import CommandError, Member
from clusterproof.lab.cluster.tenant import Door
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.known_secrets import register
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import prefix
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates import preseeds
from clusterproof.lab.substrates.container import Containers
from clusterproof.lab.substrates.machine import PORT, CommandTimeoutError, Substrate

# Seconds far beyond what it takes, as no product promises a time: a busy computer is several times slower.
ONLINE = 120.0
TRUST = 60.0
RUNNING = 60.0
# Evacuating and restoring stop and start instances, each with a limit of the product's own.
MOVE = 120.0
JOIN = 90.0

_numbers = itertools.count(1)


class Instance(NamedTuple):
    """A container or VM inside the cluster, as a member reports it."""

    location: str
    status: str


class Cluster:
    """Members made of the same or of different builds, joined into one cluster.

    ``substrate`` is what they are made of, containers of the host by default. ``certificates`` are the
    client's certificate and key, and the server's certificate, a file that need not exist yet. ``phases`` has
    the seconds that making the members and forming the cluster took.
    """

    def __init__(
        self,
        host: Host,
        transcript: Transcript,
        substrate: Substrate | None = None,
        certificates: tuple[tuple[Path, Path], Path] | None = None,
    ) -> None:
        self.host = host
        self.substrate = substrate or Containers(host)
        self.transcript = transcript
        self.members: list[Member] = []
        self.phases: dict[str, float] = {"members": 0.0, "cluster": 0.0}
        # Whether its members were joined, here or before they were saved.
        self.formed = False
        # Logs that members had before their machine was replaced by a change of image, by member.
        self.past_logs: dict[str, list[str]] = {}
        self._watch = LabWatch(host, self.members, transcript)
        self._past_crashes: list[Crash] = []
        self._clients: dict[str, Api] = {}
        self._prefix = f"{prefix(host.run)}-{next(_numbers)}"
        self._certificate, self._server_certificate = certificates or (
            make_certificate(host.run.folder),
            host.run.folder / f"{self._prefix}.crt",
        )

    # Making

    def make_members(self, images: Iterable[Image]) -> list[Member]:
        """Make and boot one member for each image, all at once; they are not joined yet.

        Raises LabError where one cannot be made or does not boot.
        """
        began = time.monotonic()
        self._watch.start()
        made = self.add_members(images)
        with self.transcript.step("lab", "host", f"make {', '.join(m.name for m in made)}"):
            _at_once(made, _make)
        self.phases["members"] += time.monotonic() - began
        return made

    def add_members(self, images: Iterable[Image]) -> list[Member]:
        """Add a member for each image, without making its machine.

        They are known before they exist, so that a failure half way leaves nothing behind.
        """
        added = []
        for number, image in enumerate(images, len(self.members) + 1):
            name = f"m{number}"
            machine = self.substrate.machine(f"{self._prefix}-{name}", image, number)
            added.append(Member(name, machine, self.transcript))
        self.members += added
        return added

    def form(self, members: list[Member] | None = None) -> None:
        """Make a cluster of all members: the first is bootstrapped, the others join one by one.

        The others' daemons are started meanwhile: it is quicker to join with one that runs already.

        Raises LabError where the cluster cannot be formed: what is judged comes after that.
        """
        began = time.monotonic()
        first, *others = joined = members or self.members
        try:
            with ThreadPoolExecutor(1) as pool:
                started = pool.submit(_at_once, others, lambda member: member.daemon.start())
                self.bootstrap(first)
                started.result()
            for member in others:
                self.join(member)
            self.wait_online(joined, asked=first)
            self.formed = True
        except (ApiError, CommandError, CommandTimeoutError, NotObservedError) as error:
            raise LabError(f"the cluster could not be formed: {error}") from error
        finally:
            self.phases["cluster"] += time.monotonic() - began

    def expect_online(self, within: float) -> None:
        """Wait for the members of a cluster that was formed before. Raises LabError: nothing is judged yet."""
        try:
            self.wait_online(within=within)
        except (ApiError, NotObservedError) as error:
            raise LabError(f"the cluster did not come back: {error}") from error

    def set_up(self, member: Member) -> None:
        """Make ``member`` a standalone server, in no cluster."""
        _init(member, preseeds.render("standalone", address=f"{member.address}:{PORT}"))

    def bootstrap(self, member: Member) -> None:
        """Make ``member`` a cluster of one that trusts the API client's certificate."""
        seed = preseeds.render("bootstrap", name=member.name, address=f"{member.address}:{PORT}")
        body = {"name": "clusterproof", "type": "client", "certificate": _body(self._certificate)}
        post = ["query", "--request", "POST", "--data", json.dumps(body), "/1.0/certificates"]
        init, trust = shlex.join(_init_argv(member)), shlex.join([member.facts.client, *post])
        found = member.run(
            f"{init} >&2 && {trust} >&2 && cat {member.facts.state_dir}/cluster.crt",
            stdin=seed,
            timeout=JOIN,
            check=True,
        )
        self._server_certificate.write_text(found.stdout)

    def token(self, name: str) -> str:
        """Return a join token for a new member called ``name``, from the leader."""
        operation = self.client().begin("cluster/members", {"server_name": name})
        facts = operation["metadata"]
        token = {
            "server_name": facts["serverName"],
            "fingerprint": facts["fingerprint"],
            "addresses": facts["addresses"],
            "secret": register(facts["secret"]),
            "expires_at": facts["expiresAt"],
        }
        return register(base64.b64encode(json.dumps(token).encode()).decode())

    def join(self, member: Member, name: str | None = None) -> None:
        """Let ``member`` join with a token. Raises CommandError with the product's error."""
        name = name or member.name
        seed = preseeds.render(
            "join", name=name, address=f"{member.address}:{PORT}", token=self.token(name)
        )
        _init(member, seed)

    # Talking

    def member(self, name: str) -> Member:
        """Return the member called ``name``."""
        return next(member for member in self.members if member.name == name)

    def client(self, member: Member | None = None) -> Api:
        """Return the product's API on ``member``, by default on the first one.

        Raises ApiError where it does not answer.
        """
        chosen = member or self.members[0]
        if chosen.name not in self._clients:
            self._clients[chosen.name] = Api(
                chosen.machine.endpoint,
                name=chosen.name,
                transcript=self.transcript,
                cert=self._certificate,
                server_cert=self._server_certificate,
            )
            if self.formed:
                self._wait_trusted(self._clients[chosen.name])
        return self._clients[chosen.name]

    def _wait_trusted(self, client: Api) -> None:
        """Wait until a member that has just joined trusts the client, which takes LXD 5.0.2 some seconds.

        A member that does not answer at all is not waited for: whoever uses the client sees that.
        """

        def is_trusted() -> bool:
            try:
                return bool(client.get("")["auth"] == "trusted")
            except ApiError:
                return True

        with contextlib.suppress(NotObservedError):
            eventually(is_trusted, within=TRUST)

    def doors(self) -> dict[str, Door]:
        """Return how each member's API is reached, by the member's name."""
        return {
            member.name: Door(member.machine.endpoint, self._certificate, self._server_certificate)
            for member in self.members
        }

    def restricted_client(self, project: str, member: Member | None = None) -> Api:
        """Return the product's API for a new client that is restricted to ``project``."""
        chosen = member or self.members[0]
        name = f"{self._prefix}-restricted"
        pair = make_certificate(self.host.run.folder, name)
        body = {"name": name, "type": "client", "certificate": _body(pair)}
        self.client(chosen).post("certificates", {**body, "restricted": True, "projects": [project]})
        self._clients[name] = Api(
            chosen.machine.endpoint,
            name=f"{chosen.name}, restricted to {project}",
            transcript=self.transcript,
            cert=pair,
            server_cert=self._server_certificate,
        )
        self._wait_trusted(self._clients[name])
        return self._clients[name]

    def leader(self, asked: Member | None = None) -> Member:
        """Return the member that leads the database, as ``asked`` sees it."""
        for entry in self.client(asked).get("cluster/members", recursion=1):
            if "database-leader" in entry.get("roles", []):
                return self.member(entry["server_name"])
        raise ApiError(f"no member is the database's leader, as {asked or self.members[0]} sees it")

    def statuses(self, asked: Member | None = None) -> dict[str, str]:
        """Return each member's status (``Online``, ``Offline``, ``Evacuated``...) as ``asked`` sees it."""
        found = self.client(asked).get("cluster/members", recursion=1)
        return {entry["server_name"]: entry["status"] for entry in found}

    def status_of(self, member: Member, asked: Member | None = None) -> str:
        """Return the status of ``member``, which is up, as ``asked`` sees it; empty where it is not listed.

        On a busy computer its heartbeat may come late, and it is reported as Offline until it does: that is
        waited out, up to ONLINE seconds. Raises ApiError where ``asked`` does not answer.
        """
        status = self.statuses(asked).get(member.name, "")
        if status == "Offline":
            with contextlib.suppress(NotObservedError):
                eventually(lambda: self.statuses(asked)[member.name] != "Offline", within=ONLINE)
            status = self.statuses(asked).get(member.name, "")
        return status

    def instance(self, name: str, asked: Member | None = None) -> Instance:
        """Return where the instance ``name`` is and its status (``Running``...) as ``asked`` sees it.

        Raises ApiError where there is none.
        """
        found = self.client(asked).get(f"instances/{name}")
        return Instance(found["location"], found["status"])

    def wait_running(self, name: str, within: float = RUNNING) -> None:
        """Wait until the instance ``name`` is Running. Raises NotObservedError after ``within`` seconds."""
        eventually(
            lambda: self.instance(name).status,
            lambda status: status == "Running",
            within=within,
            what=f"{name} is Running",
        )

    def wait_online(
        self, members: Iterable[Member] | None = None, asked: Member | None = None, within: float = ONLINE
    ) -> None:
        """Wait until ``members`` (all by default) are Online as ``asked`` sees it.

        Raises NotObservedError after ``within`` seconds.
        """
        names = [member.name for member in members or self.members]
        eventually(
            lambda: self.statuses(asked),
            lambda seen: all(seen.get(name) == "Online" for name in names),
            within=within,
            what=f"{', '.join(names)} Online",
        )

    def evacuate(self, member: Member, mode: str = "") -> None:
        """Evacuate ``member``. Raises ApiError with the product's error."""
        self._set_state(member, "evacuate", mode)

    def restore(self, member: Member, mode: str = "") -> None:
        """Bring ``member`` back after it was evacuated. Raises ApiError with the product's error."""
        self._set_state(member, "restore", mode)

    def _set_state(self, member: Member, action: str, mode: str) -> None:
        body = {"action": action, **({"mode": mode} if mode else {})}
        # Asked of the first member: an LXD 5.0.2 that has just joined trusts no client for seconds.
        self.client().post(f"cluster/members/{member.name}/state", body, timeout=MOVE)

    # Changing builds

    def upgrade(self, member: Member, image: Image) -> None:
        """Put another build on ``member``, newer or older, over its kept state; the daemon is started.

        Does not wait until the daemon is ready: whether it will be may be the question.
        """
        with self.transcript.step("lab", member.name, f"{member.build.name} -> {image.build.name}"):
            self.past_logs.setdefault(member.name, []).append(member.daemon.log())
            self._past_crashes += crashes(member)
            member.daemon.stop()
            # The member is killed below: what the product wrote has to be on the volume by then.
            member.run(["sync"], check=True)
            member.machine.reimage(image)
            member.machine.start()
            _prepare(member)
            self._clients.pop(member.name, None)
            _check_installed(member)
            member.daemon.start()

    # Ending

    def logs(self) -> dict[str, str]:
        """Return each member's daemon log, with those from before its changes of build. Raises LabError."""
        found = {}
        for member in self.members:
            with _looking(member):
                now = member.daemon.log() if member.machine.running() else ""
            found[member.name] = "\n".join([*self.past_logs.get(member.name, []), now])
        return found

    def crashes(self) -> list[Crash]:
        """Return which daemons ended or panicked by themselves, also before changes of build.

        Raises LabError where a member that runs does not answer.
        """
        found = list(self._past_crashes)
        for member in self.members:
            with _looking(member):
                found += crashes(member) if member.machine.running() else []
        return found

    def settle(self) -> None:
        """Wait until every member's daemon is settled (see Daemon.settle): then what it says can be looked at.

        A member that does not answer is left as it is; ``check_lab`` says what that means.
        """
        running = [member for member in self.members if member.machine.running()]
        with self.transcript.step("wait", "cluster", "the daemons settle"):
            _at_once(running, _settle)

    def check_lab(self) -> None:
        """Make sure that the lab was sound: its faults are no statement about the product.

        Raises LabError where the watch saw trouble, a member stopped that no scenario stopped, or the host lost
        what the lab has there or has no room left.
        """
        if self._watch.seen:
            raise LabError(self._watch.seen)
        self.substrate.check_room()
        for member in self.members:
            if member.machine.should_run:
                if not member.machine.running():
                    raise LabError(f"member {member.name} stopped, and no scenario stopped it")
                _check_installed(member)

    def own_crashes(self) -> list[Crash]:
        """Return ``crashes``, all of which are the daemons' own. Raises LabError where one was killed."""
        found = self.crashes()
        for crash in found:
            if crash.kind == "killed":
                raise LabError(
                    f"the daemon of {crash.member} was killed by signal {crash.status} from outside: "
                    "neither the scenario nor the daemon did that"
                )
        return found

    def trouble(self) -> str:
        """Return what the lab did to the cluster, in one clause; empty where it was sound all the while."""
        try:
            self.check_lab()
            self.own_crashes()
        except LabError as error:
            return str(error)
        return ""

    def destroy(self) -> None:
        """Remove every member. Raises LabError when one could not be removed, after trying all."""
        for client in self._clients.values():
            client.close()
        self._clients.clear()
        self._watch.stop()
        members, self.members = self.members, []
        with self.transcript.step("lab", "host", "remove the cluster"):
            _at_once(members, lambda member: member.machine.destroy())


def _body(pair: tuple[Path, Path]) -> str:
    """Return a PEM certificate as the API takes it: its lines joined, without header and footer."""
    return "".join(pair[0].read_text().strip().splitlines()[1:-1])


def _init_argv(member: Member) -> list[str]:
    return [*member.facts.admin, "init", "--preseed"]


def _init(member: Member, seed: str) -> None:
    member.run(_init_argv(member), stdin=seed, timeout=JOIN, check=True)


def _check_installed(member: Member) -> None:
    """Raise LabError where the product has put another revision of itself beside the one of its image."""
    asks = member.daemon.packaging.asks_installed
    with _looking(member):
        found = member.machine.execute(["sh", "-c", asks], timeout=TRUST).stdout.split() if asks else []
    if len(found) > 1:
        revisions = ", ".join(found)
        raise LabError(f"member {member.name} has not stayed at its image's revision: it has {revisions}")


@contextlib.contextmanager
def _looking(member: Member) -> Iterator[None]:
    """Look at ``member``: that this takes too long is the lab's fault, as nothing is asked of the product."""
    try:
        yield
    except CommandTimeoutError as error:
        raise LabError(f"member {member.name} cannot be looked at: {error}") from error


def _settle(member: Member) -> None:
    with contextlib.suppress(CommandTimeoutError, LabError):
        member.daemon.settle()


def _make(member: Member) -> None:
    member.machine.create()
    member.machine.start()
    _prepare(member)


def _prepare(member: Member) -> None:
    """Raise LabError where the member is not ready for the product's first command."""
    if command := member.daemon.packaging.prepare:
        done = member.machine.execute(["sh", "-c", command], timeout=ONLINE)
        if not done.ok:
            raise LabError(f"member {member.name} cannot run its snap: {done.stderr.strip()[-300:]}")


def _at_once(members: list[Member], do: Callable[[Member], Any]) -> None:
    """Do something to all members at once; every one is tried, the first error is raised."""
    if not members:
        return
    with ThreadPoolExecutor(len(members)) as pool:
        futures = [pool.submit(do, member) for member in members]
    for future in futures:
        future.result()
