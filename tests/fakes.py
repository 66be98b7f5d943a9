"""Stand-ins for what the lab talks to: an LXD or Incus server, and a member's machine.

The server answers as the real REST API does, over a unix socket; its state is plain dicts that a test
may look into and change. Nothing here takes time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shlex
import shutil
import socket
import socketserver
import tempfile
import textwrap
import threading
import types
import urllib.parse
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import pytest
from requests_toolbelt import MultipartDecoder

from clusterproof.lab.builds import apt_mirror, catalogue
from clusterproof.lab.builds.apt_mirror import Mirror
from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host import bridge, endpoint, subnets
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import NETWORK
from clusterproof.lab.images import logged_commands, making, recipe
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates.machine import PORT, CommandTimeoutError, Result

CATALOGUE = catalogue.load()
INCUS_604 = CATALOGUE.get("incus@6.0.4")
INCUS_702 = CATALOGUE.get("incus@7.0.2")
LXD_502 = CATALOGUE.get("lxd@5.0.2")

SUCCESS, FAILURE, RUNNING = 200, 400, 103
NAMES = {SUCCESS: "Success", FAILURE: "Failure", RUNNING: "Running"}


class Refusal(Exception):  # noqa: N818
    """An error answer of the server."""

    def __init__(self, status: int, error: str) -> None:
        super().__init__(error)
        self.status = status


@dataclass
class Answer:
    """A synchronous answer."""

    metadata: object = None
    status: int = 200


@dataclass
class Operation:
    """A background operation: done, failed (``err``), or never done.

    ``failed`` is the status with which Incus answers whoever waits for one that failed; with LXD waiting
    succeeds, and the operation has the error.
    """

    description: str
    metadata: object = None
    err: str = ""
    code: int = SUCCESS
    failed: int = 400
    id: str = field(default_factory=lambda: str(uuid4()))

    def body(self, code: int | None = None) -> dict:
        code = code or self.code
        return {
            "id": self.id,
            "class": "task",
            "description": self.description,
            "status": NAMES[code],
            "status_code": code,
            "metadata": self.metadata,
            "err": self.err,
        }


@dataclass
class Raw:
    """An answer that is a file, or nonsense."""

    content: bytes
    status: int = 200
    type: str = "application/octet-stream"


@dataclass
class Call:
    """A request that the server got; ``body`` is JSON's data, or bytes."""

    method: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]

    @property
    def line(self) -> str:
        return f"{self.method} {self.path}"


Answering = Answer | Operation | Raw

EXISTS = {
    "incus": "Failed creating instance record: Add instance info to the database: "
    'Failed to create "instances" entry: UNIQUE constraint failed: instances.project_id, instances.name',
    "lxd": "Failed creating instance record: Add instance info to the database: "
    'This "instances" entry already exists',
}


class FakeServer:
    """An LXD or Incus server on the unix socket ``socket``; use it in a ``with`` block.

    What it refuses, and with which status and words, is what LXD 5.0.2 and Incus 6.0.4 have answered to such
    calls.

    ``say`` answers instead of the server where its key, ``METHOD path``, is a request's; what it
    holds is an Answer, Operation, Raw, a Refusal to raise, or a function of the Call that returns one.
    ``run`` stands for the commands in instances: it is given (instance's name, argv).
    """

    def __init__(self, *, product: str = "incus", version: str = "") -> None:
        self.product = product
        version = version or {"incus": "6.0.4", "lxd": "5.0.2"}[product]
        # Below the shortest folder there is: a socket's path may have about 100 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="cp-"))
        self.socket = self.folder / "s"
        self.info: dict[str, Any] = {
            "auth": "trusted",
            "api_extensions": ["projects", "etag"],
            "config": {},
            "environment": {"server": product, "server_version": version, "driver": "lxc"},
        }
        self.calls: list[Call] = []
        self.say: dict[str, Answering | Refusal | Callable[[Call], Answering]] = {}
        self.run: Callable[[str, list[str]], tuple[int, str, str]] = lambda *_: (0, "", "")
        self.projects: dict[str, dict] = {"default": {"name": "default", "config": {}}}
        self.networks: dict[str, dict] = {}
        # What interfaces really have, in difference to what they were told: "10.1.2.1/24" by name.
        self.addresses: dict[str, list[str]] = {}
        self.pools: dict[str, dict] = {}
        self.space = {"total": 40 << 30, "used": 1 << 30}
        self.instances: dict[str, dict[str, dict]] = defaultdict(dict)
        self.volumes: dict[str, dict[str, dict]] = defaultdict(dict)
        self.images: dict[str, dict[str, dict]] = defaultdict(dict)
        self.files: dict[tuple[str, str], bytes] = {}
        self.members: dict[str, dict] = {}
        self.operations: dict[str, Operation] = {}
        self.lock = threading.RLock()
        self._http = _Http(str(self.socket), _Handler)
        self._http.fake = self

    def __enter__(self) -> Self:
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """End as a killed server does: its connections break, its socket stays."""
        self._http.shutdown()
        self._http.server_close()
        self._http.hang_up()

    def lines(self, *methods: str) -> list[str]:
        """Return ``METHOD path`` of every request, of some methods only where they are named."""
        return [call.line for call in self.calls if not methods or call.method in methods]

    def asked(self, line: str) -> list[Call]:
        """Return the requests for ``METHOD path``."""
        return [call for call in self.calls if call.line == line]

    def add_instance(self, name: str, project: str = "clusterproof", **config: str) -> None:
        marks = {f"user.clusterproof.{key}": value for key, value in config.items()}
        self.instances[project][name] = {"name": name, "status": "Running", "config": marks}

    def add_volume(self, name: str, project: str = "clusterproof", **config: str) -> None:
        marks = {f"user.clusterproof.{key}": value for key, value in config.items()}
        self.volumes[project][name] = {"name": name, "type": "custom", "config": marks}

    # Answering

    def answer(self, call: Call) -> Answering:
        with self.lock:
            self.calls.append(call)
            special = self.say.get(call.line)
        if special is None:
            with self.lock:
                return self._route(call)
        found = special if isinstance(special, Answering | Exception) else special(call)
        if isinstance(found, Exception):
            raise found
        return found

    def _route(self, call: Call) -> Answering:
        for pattern, method in _ROUTES:
            if match := re.fullmatch(pattern, call.path):
                return getattr(self, method)(call, *(urllib.parse.unquote(g) for g in match.groups()))
        raise Refusal(404, "Not Found")

    def _root(self, _: Call) -> Answer:
        return Answer(self.info)

    def _operation(self, _: Call, identity: str, wait: str) -> Answer:
        if identity not in self.operations:
            raise Refusal(404, "Operation not found")
        operation = self.operations[identity]
        if wait and operation.err and self.product == "incus":
            raise Refusal(operation.failed, operation.err)
        return Answer(operation.body(None if wait else RUNNING))

    def _project_list(self, call: Call) -> Answer:
        return self._named(call, self.projects)

    def _project(self, call: Call, name: str) -> Answer:
        return self._one(call, self.projects, name, "Project not found")

    def _network_list(self, call: Call) -> Answer:
        return self._named(call, self.networks)

    def _network(self, call: Call, name: str) -> Answer:
        return self._one(call, self.networks, name, "Network not found")

    def _network_state(self, _: Call, name: str) -> Answer:
        if name not in self.networks:
            raise Refusal(404, "Network not found")
        found = self.addresses.get(name, [])
        keys = ("address", "netmask")
        addresses = [
            {"family": "inet6" if ":" in one else "inet", **dict(zip(keys, one.split("/"), strict=True))}
            for one in found
        ]
        return Answer({"addresses": addresses or None, "state": "up"})

    def _pool_list(self, call: Call) -> Answer:
        return self._named(call, self.pools)

    def _pool(self, call: Call, name: str) -> Answer:
        return self._one(call, self.pools, name, "Storage pool not found")

    def _space(self, _: Call, pool: str) -> Answer:
        if pool not in self.pools:
            raise Refusal(404, "Storage pool not found")
        return Answer({"space": self.space, "inodes": {}})

    def _volume_list(self, call: Call, _: str) -> Answer:
        return self._named(call, self.volumes[_project_of(call)])

    def _volume(self, call: Call, _: str, name: str) -> Answer:
        return self._one(call, self.volumes[_project_of(call)], name, "Storage volume not found")

    def _image_list(self, call: Call) -> Answering:
        found = self.images[_project_of(call)]
        if call.method == "GET":
            return Answer(list(found.values()))
        parts = MultipartDecoder(call.body, call.headers["content-type"]).parts
        fingerprint = hashlib.sha256(b"".join(part.content for part in parts)).hexdigest()
        # By the name of the second part a server knows what an image is for.
        disk = b'name="rootfs.img"' in parts[-1].headers[b"Content-Disposition"]
        kind = "virtual-machine" if disk else "container"
        found[fingerprint] = {"fingerprint": fingerprint, "type": kind}
        return Operation("Downloading image", {"fingerprint": fingerprint})

    def _image(self, call: Call, fingerprint: str) -> Answering:
        answer = self._one(call, self.images[_project_of(call)], fingerprint, "Image not found")
        return Operation("Deleting image") if call.method == "DELETE" else answer

    def _instance_list(self, call: Call) -> Answering:
        found = self.instances[_project_of(call)]
        if call.method == "GET":
            return Answer(list(found.values()))
        if _project_of(call) not in self.projects:
            raise Refusal(404, "Failed loading project: Project not found")
        name = call.body["name"]
        fingerprint = call.body.get("source", {}).get("fingerprint")
        if fingerprint is not None and fingerprint not in self.images[_project_of(call)]:
            raise Refusal(404, "Image not found")
        if name in found:
            return Operation("Creating instance", err=EXISTS[self.product], code=FAILURE, failed=500)
        if reason := self._impossible(call.body):
            return Operation("Creating instance", err=reason, code=FAILURE, failed=404)
        # A scheduler that is easy to foretell: the machine with the fewest instances.
        used = [instance.get("location") for instance in found.values()]
        free = min(self.members, key=used.count) if self.members else "none"
        place = call.query.get("target", free)
        found[name] = {"status": "Stopped", **call.body, "location": place}
        return Operation("Creating instance")

    def _instance(self, call: Call, name: str) -> Answering:
        found = self.instances[_project_of(call)]
        if name not in found:
            raise Refusal(404, "Instance not found")
        if call.method == "GET":
            return Answer(found[name])
        if call.method == "PATCH":
            found[name]["devices"] |= call.body["devices"]
            return Operation("Updating instance")
        if found[name]["status"] == "Running":
            raise Refusal(400, "Instance is running")
        del found[name]
        for key in [key for key in self.files if key[0] == name]:
            del self.files[key]
        return Operation("Deleting instance")

    def _state(self, call: Call, name: str) -> Answering:
        found = self.instances[_project_of(call)]
        if name not in found:
            raise Refusal(404, "Instance not found")
        action = call.body["action"]
        if action not in {"start", "stop", "restart", "freeze", "unfreeze"}:
            raise Refusal(400, f"Unknown action: '{action}'")
        wanted = {"start": "Running", "unfreeze": "Running", "freeze": "Frozen"}.get(action, "Stopped")
        if found[name]["status"] == wanted:
            return Operation(action, err=f"The instance is already {wanted.lower()}", code=FAILURE)
        found[name]["status"] = wanted
        return Operation(f"{action} instance")

    def _files(self, call: Call, name: str) -> Answering:
        key = (name, call.query["path"])
        if call.method == "POST":
            self.files[key] = call.body
            return Answer({})
        if key not in self.files:
            raise Refusal(404, "Not Found")
        return Raw(self.files[key])

    def _exec(self, call: Call, name: str) -> Operation:
        found = self.instances[_project_of(call)]
        if name not in found:
            raise Refusal(404, "Instance not found")
        if found[name]["status"] != "Running":
            raise Refusal(400, "Instance is not running")
        self.lock.release()
        try:
            status, *outputs = self.run(name, call.body["command"])
        except Refusal as refused:
            return Operation("Executing command", err=str(refused), code=FAILURE)
        finally:
            self.lock.acquire()
        paths = {}
        for stream, text in enumerate(outputs, 1):
            file = f"exec_{uuid4()}.{('stdout', 'stderr')[stream - 1]}"
            self.files[name, file] = text.encode() if isinstance(text, str) else text
            paths[str(stream)] = f"/1.0/instances/{name}/logs/exec-output/{file}"
        return Operation("Executing command", {"return": status, "output": paths})

    def _output(self, _: Call, name: str, file: str) -> Answering:
        if (name, file) not in self.files:
            raise Refusal(404, "Not Found")
        return Raw(self.files[name, file])

    def _member_list(self, call: Call) -> Answering:
        if call.method == "GET":
            return Answer(list(self.members.values()))
        facts = {
            "serverName": call.body["server_name"],
            "fingerprint": "fab1e5",
            "addresses": ["10.176.0.9:8443"],
            "secret": "ab12" * 16,
            "expiresAt": "2026-01-02T03:04:05Z",
        }
        return Operation("Adding member", facts, code=RUNNING)

    def make_cluster(self, *names: str) -> None:
        """Be a cluster of machines with these names, which are reached at ``NAME.example.org``."""
        self.info["environment"] |= {"server_clustered": True, "certificate_fingerprint": "fab1e5"}
        for name in names:
            url = f"https://{name}.example.org:8443"
            self.members[name] = {"server_name": name, "url": url, "status": "Online"}

    def _named(self, call: Call, found: dict[str, dict]) -> Answer:
        """List the things of one kind, or make one; of pools and networks each machine is told first."""
        if call.method == "GET":
            return Answer(list(found.values()))
        name = call.body["name"]
        if "target" in call.query and found is not self.volumes[_project_of(call)]:
            if call.body.get("description"):
                raise Refusal(400, "The description cannot be set for a specific member")
            pending = found.setdefault(name, {"name": name, "status": "Pending", "machines": []})
            pending["machines"].append(call.query["target"])
            return Answer(status=201)
        if name in found and found[name].get("status") != "Pending":
            raise self._exists(name, found)
        if (found.get(name) or {}).get("machines", list(self.members)) != list(self.members):
            raise Refusal(400, f'"{name}" is not defined on all machines')
        found[name] = {**call.body, "status": "Created", "location": call.query.get("target", "none")}
        return Answer(status=201)

    def _exists(self, name: str, found: dict[str, dict]) -> Refusal:
        """Return the answer to making ``name`` of ``found`` once more."""
        incus = self.product == "incus"
        if found is self.projects:
            start = f'Failed creating project "{name}": Failed adding database record: '
            if incus:
                start += 'Failed to create "projects" entry: UNIQUE constraint failed: projects.name'
                return Refusal(500, start)
            return Refusal(409, start + 'This "projects" entry already exists')
        if found is self.networks:
            return Refusal(409, f'Network "{name}" already exists') if incus else Refusal(
                400, "The network already exists"
            )
        if found is self.pools:
            return Refusal(409, "The storage pool already exists: The record already exists")
        return Refusal(409, "Volume by that name already exists")

    def _impossible(self, body: dict) -> str:
        """Return why the server makes no instance of ``body``, as it says it; empty where it does.

        A static address that another instance has is no reason for either product.
        """
        spelt = "initializing" if self.product == "incus" else "initialising"
        failed = f"Failed creating instance record: Failed {spelt} instance"
        for name, device in body.get("devices", {}).items():
            if device.get("type") == "disk" and device.get("pool", "") not in {"", *self.pools}:
                return f"{failed}: Failed loading storage pool: Storage pool not found"
            if device.get("type") == "nic" and device.get("network", "") not in {"", *self.networks}:
                return (
                    f'{failed}: Invalid devices: Device validation failed for "{name}": Failed loading device '
                    f'"{name}": Failed to load network "{device["network"]}" for project "default": '
                    "Network not found"
                )
        return ""

    def _in_use(self, name: str, found: dict[str, dict]) -> str:
        """Return why the server does not delete ``name`` of ``found``; empty where it does."""
        if found is self.projects:
            end = "." if self.product == "incus" else ""
            return f"Only empty projects can be removed{end}" if self._holds(name) else ""
        instances = [one for of_project in self.instances.values() for one in of_project.values()]
        devices = [device for one in instances for device in one.get("devices", {}).values()]
        if found is self.pools and any(name == device.get("pool") for device in devices):
            return "The storage pool is currently in use"
        if found is self.networks and any(name == device.get("network") for device in devices):
            return "The network is currently in use"
        return ""

    def _holds(self, project: str) -> bool:
        # LXD 5.0.2 does not count volumes.
        kinds = (self.instances, self.images, *([self.volumes] if self.product == "incus" else []))
        return any(kind[project] for kind in kinds)

    def _one(self, call: Call, found: dict[str, dict], name: str, missing: str) -> Answer:
        if name not in found:
            raise Refusal(404, missing)
        if call.method == "DELETE":
            if reason := self._in_use(name, found):
                raise Refusal(500 if found is self.projects else 400, reason)
            del found[name]
            return Answer()
        return Answer(found[name])


_ROUTES = [
    (r"", "_root"),
    (r"operations/([^/]+)(|/wait)", "_operation"),
    (r"projects", "_project_list"),
    (r"projects/([^/]+)", "_project"),
    (r"networks", "_network_list"),
    (r"networks/([^/]+)", "_network"),
    (r"networks/([^/]+)/state", "_network_state"),
    (r"storage-pools", "_pool_list"),
    (r"storage-pools/([^/]+)", "_pool"),
    (r"storage-pools/([^/]+)/resources", "_space"),
    (r"storage-pools/([^/]+)/volumes/custom", "_volume_list"),
    (r"storage-pools/([^/]+)/volumes/custom/([^/]+)", "_volume"),
    (r"images", "_image_list"),
    (r"images/([^/]+)", "_image"),
    (r"instances", "_instance_list"),
    (r"instances/([^/]+)", "_instance"),
    (r"instances/([^/]+)/state", "_state"),
    (r"instances/([^/]+)/files", "_files"),
    (r"instances/([^/]+)/exec", "_exec"),
    (r"instances/([^/]+)/logs/exec-output/([^/]+)", "_output"),
    (r"cluster/members", "_member_list"),
]


def _project_of(call: Call) -> str:
    return call.query.get("project", "default")


class _Http(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
    block_on_close = False
    fake: FakeServer

    def __init__(self, *args: Any) -> None:
        self._open: set[Any] = set()
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        for request in list(self._open):
            # Its handler's thread may be waiting for another request of this connection.
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)
            self.shutdown_request(request)

    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that hang up."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Http

    def _serve(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if "json" in (self.headers.get("Content-Type") or ""):
            content = json.loads(content)
        headers = {key.lower(): value for key, value in self.headers.items()}
        path = url.path.removeprefix("/1.0").strip("/")
        query = dict(urllib.parse.parse_qsl(url.query))
        call = Call(self.command, path, query, content, headers)
        try:
            answer = self.server.fake.answer(call)
        except Refusal as refused:
            self._send_json(
                refused.status, {"type": "error", "error": str(refused), "error_code": refused.status}
            )
            return
        if isinstance(answer, Raw):
            self._send(answer.status, answer.content, answer.type)
        elif isinstance(answer, Operation):
            self.server.fake.operations[answer.id] = answer
            where = f"/1.0/operations/{answer.id}"
            if "project" in query:
                where += f"?project={query['project']}"
            self._send_json(
                202,
                {
                    "type": "async",
                    "status": "Operation created",
                    "status_code": 100,
                    "operation": where,
                    "metadata": answer.body(RUNNING),
                },
            )
        else:
            body = {"type": "sync", "status": "Success", "status_code": 200, "metadata": answer.metadata}
            self._send_json(answer.status, body)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve  # noqa: N815

    def _send_json(self, status: int, body: dict) -> None:
        self._send(status, json.dumps(body).encode(), "application/json")

    def _send(self, status: int, content: bytes, kind: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def address_string(self) -> str:
        return "client"

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


# The base of a class that stands in for one of the house, of which a test needs a part only.
StandIn: Any = object

# What the lab runs in members of its own accord, whose output it does not read unless a test says what it is.
LAB_COMMANDS = re.compile(
    r"systemctl (daemon-reload|start|stop|kill|reset-failed|is-active)\b|journalctl --sync|^sync$"
    r"|/run/clusterproof-(evidence\.sh|install\.log)|cloud-init clean|/var/log/cloud-init-output\.log"
    r"|^(mkdir -p|rm -f) /etc/systemd/system/(incus|lxd)\.service\.d|mkdir -p /(run/systemd/system/|etc/ceph)"
    r"|(incus|lxc) image (info|import)|(mkdir|mv) /root/clusterproof-snaps\.part|cat /var/log/(incus|lxd)/"
    r"|nsenter --mount=/run/snapd/ns/"
)


@dataclass
class FakeMachine:
    """A machine that keeps lab.machine.Machine's contract without being one.

    ``answers`` holds pairs of (a part of the command line, what comes of it): a Result, an exception to
    raise, or a function of (argv, stdin) that returns one. The first that fits counts. Of the others those that
    the lab itself needs (``LAB_COMMANDS``) succeed silently, and the rest are unknown, as in a shell.
    ``broken`` is raised by whatever is asked of the machine itself.
    """

    name: str
    image: Image
    address: str = "10.176.0.2"
    answers: list[tuple[str, Any]] = field(default_factory=list)
    substrate: str = "container"
    emulated: bool = False
    should_run: bool = False
    exists: bool = False
    up: bool = False
    broken: dict[str, Exception] = field(default_factory=dict)
    done: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    modes: dict[str, int] = field(default_factory=dict)
    given: dict[str, bytes] = field(default_factory=dict)
    said: str = ""

    @property
    def endpoint(self) -> str:
        return f"https://{self.address}:{PORT}"

    def create(self) -> None:
        self._do("create")
        self.exists = True

    def start(self) -> None:
        self._do("start")
        self.up = self.should_run = True

    def stop(self, *, force: bool = False, timeout: float = 60) -> None:  # noqa: ARG002
        self._do("kill" if force else "stop")
        self.up = self.should_run = False

    def freeze(self) -> None:
        self._do("freeze")
        self.up = False

    def reimage(self, image: Image) -> None:
        self._do("reimage")
        self.up = self.should_run = False
        self.image = image

    def destroy(self) -> None:
        self._do("destroy")
        self.exists = self.up = False

    def running(self) -> bool:
        if "running" in self.broken:
            raise self.broken["running"]
        return self.up

    @staticmethod
    def watched() -> None:
        return None

    def console(self) -> str:
        return self.said

    def execute(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        line = shlex.join(argv)
        self.commands.append(line)
        if "execute" in self.broken:
            raise self.broken["execute"]
        if not self.up:
            raise LabError(f"cannot run a command in member {self.name}: it is not running")
        if stdin is not None:
            self.given[line] = stdin
        for part, answer in self.answers:
            if part in line:
                found = answer(argv, stdin) if callable(answer) else answer
                if isinstance(found, CommandTimeoutError):
                    raise CommandTimeoutError(f"{found} ({timeout:g} s)")
                if isinstance(found, Exception):
                    raise found
                return found
        if LAB_COMMANDS.search(line):
            return Result(0, "", "")
        return Result(127, "", f"sh: 1: {argv[0]}: not found")

    def read(self, path: str) -> bytes:
        if path not in self.files:
            raise FileNotFoundError(f"{self.name} has no file {path}")
        return self.files[path]

    def write(self, path: str, content: bytes, mode: int = 0o644) -> None:
        if not self.up:
            raise LabError(f"cannot write {path} of member {self.name}: it is not running")
        self.files[path] = content
        self.modes[path] = mode

    def _do(self, what: str) -> None:
        self.done.append(what)
        if what in self.broken:
            raise self.broken[what]


def out(text: str) -> Result:
    """Return the result of a command that says ``text`` and succeeds."""
    return Result(0, text, "")


def image(entry: CatalogueBuild = INCUS_702, schema: int = 77, extensions: int = 562) -> Image:
    """Return an image of ``entry`` as baking would."""
    names = frozenset(f"extension_{number}" for number in range(extensions))
    build = entry.installed(f"{entry.version}-1", extensions, schema)
    return Image(build, entry.facts, "d1" * 32, "f1" * 32, names)


def bake_beforehand(entry: CatalogueBuild, *, schema: int = 77, truth: bool = True) -> Path:
    """Put an image of ``entry`` into the lab's folder, as a whole bake leaves it; return its folder."""
    folder = runs.folder() / "images" / recipe.digest(entry)
    folder.mkdir(parents=True)
    (folder / "rootfs.squashfs").write_bytes(f"rootfs of {entry.name}".encode())
    (folder / "metadata.tar").write_bytes(b"metadata")
    size = (folder / "rootfs.squashfs").stat().st_size
    made = {"rootfs_bytes": size, "package_version": f"{entry.version}-1"}
    (folder / "recipe.json").write_text(json.dumps(made))
    if truth:
        content = b"metadata" + f"rootfs of {entry.name}".encode()
        known = {
            "fingerprint": hashlib.sha256(content).hexdigest(),
            "extensions": ["projects", "etag"],
            "schema": schema,
        }
        (folder / "truth.json").write_text(json.dumps(known))
    return folder


def stand_in(folder: Path, name: str, body: str) -> None:
    """Make ``folder/name`` a shell script, which stands in for a tool of that name."""
    file = folder / name
    file.write_text(f"#!/bin/sh\n{body}\n")
    file.chmod(0o755)


def bake_with_stand_ins(place: Path, monkeypatch) -> Path:
    """Return a folder in front of PATH for stand-ins; baking asks for nothing of this machine else."""
    folder = place / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setattr(logged_commands, "GUARD", ())
    monkeypatch.setattr(making, "TOOLS", {})
    monkeypatch.setattr(making, "SPACE", 1)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(apt_mirror, "find", lambda _=None: Mirror("https://deb.example.org/debian"))
    return folder


def disks_with_stand_ins(folder: Path) -> None:
    """Put stand-ins into ``folder`` for what packs and unpacks disks: here they are archives."""
    stand_in(folder, "truncate", "exit 0")
    stand_in(folder, "mke2fs", 'while [ "$1" != -d ]; do shift; done; tar -cf "$3" -C "$2" .')
    stand_in(folder, "mount", 'case $2 in loop,ro) tar -xf "$3" -C "$4" ;; esac')
    stand_in(folder, "umount", 'find "$1" -mindepth 1 -delete')


BRIDGE: dict[str, Any] = {
    "name": "clusterproof0",
    "config": {"user.clusterproof": "true", "ipv4.address": "10.176.0.1/20"},
}


def stay_alone(monkeypatch, folder: Path) -> None:
    """Give the lab the folder ``folder``, and let it see none of this machine's servers and networks."""
    monkeypatch.setenv("LAB_DIR", str(folder))
    for name in ("LAB_HOST", "LAB_HOST_CERT", "LAB_HOST_KEY", "LAB_HOST_SERVER_CERT"):
        monkeypatch.delenv(name, raising=False)
    # A test that bakes by mistake is not to load packages for minutes: nothing listens there.
    monkeypatch.setenv("LAB_MIRROR", "http://127.0.0.1:9/debian")
    monkeypatch.setattr(endpoint, "SOCKETS", ())
    monkeypatch.setattr(endpoint, "CLIENT_CONFIGS", ())
    monkeypatch.setattr(subnets, "local", list)
    interfaces = folder.with_name("net")
    make_interface(interfaces, NETWORK)
    monkeypatch.setattr(bridge, "INTERFACES", interfaces)


def make_interface(interfaces: Path, name: str, index: int = 7) -> None:
    """Let the kernel have an interface in ``interfaces``, its folder of them."""
    (interfaces / name).mkdir(parents=True, exist_ok=True)
    (interfaces / name / "ifindex").write_text(f"{index}\n")


LEDGER = """\
id = "{id}"
title = "A member forgets its name"
kind = "{kind}"
area = "{area}"
products = {products}
upstream = ["https://github.com/lxc/incus/issues/1"]
needs = {needs}
[symptom]
words = "It has another name."
"""
PATTERN = """
[[symptom.patterns]]
where = "message"
regex = "forgot its name"
[[symptom.patterns]]
where = "log"
regex = "name is gone"
"""
RANGES = """
[[ranges]]
product = "incus"
track = "6.0"
proof = "code"
[[ranges]]
product = "incus"
track = "7.0"
affected = false
proof = "code"
"""
LXD_RANGES = RANGES.replace('"incus"', '"lxd"').replace("6.0", "5.0").replace("7.0", "5.21")
CONFTEST = (Path(__file__).parent.parent / "conftest.py").read_text("utf-8")
SETTINGS = """\
[tool.pytest]
strict = true
testpaths = ["suites"]
addopts = ["--import-mode=importlib", "-p", "no:cacheprovider"]
"""


# A scenario that never checks anything is none, and most here are about something else.
CHECK = """
@pytest.fixture(autouse=True)
def checked(request):
    if "cell" in request.fixturenames:
        with request.getfixturevalue("symptom")("it holds"):
            pass
"""


def lab_host(server: FakeServer, folder: Path, monkeypatch, *, prepared: bool = True) -> Host:
    """Return ``server`` as the lab host of run r1, whose lab and transcript are in ``folder``."""
    stay_alone(monkeypatch, folder / "lab")
    run = Run("r1")
    run.hold()
    host = Host(Endpoint(str(server.socket)), run, Transcript(folder / "transcript.jsonl"))
    if prepared:
        host.prepare()
    return host


def session_of(config: pytest.Config) -> Any:
    """Return what stands for pytest's session of ``config``, before there is one."""
    return types.SimpleNamespace(config=config)


class FakeCheckout:
    """A checkout of this project with suites of its own, in which pytest can be run.

    pytest runs in this very process, so that what a test replaces in the lab is replaced there too.
    ``monkeypatch`` is the fixture, ``pytester`` too.
    """

    def __init__(self, pytester, monkeypatch) -> None:
        self._pytester = pytester
        self.root = pytester.path
        # What this project uses of what is installed; the rest only takes time.
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        monkeypatch.setenv("PYTEST_ADDOPTS", "-p allure_pytest.plugin -p pytest_timeout -p xdist.plugin")
        monkeypatch.setattr("clusterproof.fixtures.resolve.PACKAGE", self.root)
        for module in ("fixtures.session", "fixtures.cells", "reports.results.ledger"):
            monkeypatch.setattr(f"clusterproof.{module}.SUITES", self.root / "suites")
        (self.root / "conftest.py").write_text(CONFTEST)
        (self.root / "pyproject.toml").write_text(SETTINGS)
        (self.root / "suites").mkdir()

    def ledger(self, stem: str = "membership/test_name", **facts: object) -> Path:
        """Write a ledger entry; its keys may be given, its scenario is not written."""
        path = self.root / "suites" / f"{stem}.toml"
        path.parent.mkdir(exist_ok=True)
        values = {"id": "lxd-1", "kind": "bug", "area": path.parent.name, **facts}
        for key, default in {"products": ["lxd", "incus"], "needs": []}.items():
            values[key] = json.dumps(facts.get(key, default))
        text = LEDGER.format(**values)
        if judge := facts.get("judged_by"):
            text = text.replace("[symptom]", f'judged_by = "{judge}"\n[symptom]')
        if values["kind"] == "bug":
            ranges = RANGES if "incus" in values["products"] else LXD_RANGES
            text += PATTERN + ranges
        path.write_text(text)
        return path

    def scenario(
        self,
        code: str,
        stem: str = "membership/test_name",
        issue: str | None = "lxd-1",
        *,
        checks: bool = True,
    ) -> Path:
        """Write a scenario's module, which documents ``issue``; with ``checks`` each one checks something."""
        path = self.root / "suites" / f"{stem}.py"
        path.parent.mkdir(exist_ok=True)
        mark = f'pytestmark = pytest.mark.documents("{issue}")\n' if issue else ""
        check = CHECK if issue and checks else ""
        path.write_text(f"import pytest\n{mark}{check}{textwrap.dedent(code)}")
        return path

    def run(self, *args: str):
        """Run pytest there; return its pytest.RunResult."""
        return self._pytester.runpytest_inprocess(*args, no_reraise_ctrlc=True)

    def cells(self) -> list[dict]:
        """Return what the newest run wrote down, cell by cell."""
        path = self.root / "out" / "latest" / "results.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
