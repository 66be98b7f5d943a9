"""Three bare daemons in network namespaces: how fast a cluster can be at all, for comparison.

Upstream's own shell tests run their clusters like this. There is no container, no image and no init system: the
difference to the lab's time is the price of real members.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from clusterproof.lab.core.api import Api
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import eventually
from clusterproof.lab.host.private_server import daemon_binary
from clusterproof.lab.substrates import preseeds

_BRIDGE = "cp-bare"
_SUBNET = "192.0.2"  # set aside for documentation (RFC 5737), so that nobody routes it
_LIMIT = 60


def seconds_to_online(count: int = 3) -> float:
    """Return how long ``count`` fresh bare daemons take until they are a cluster, all Online.

    Raises LabError where there is no incusd or it cannot be started.
    """
    binary, client = daemon_binary(), shutil.which("incus")
    if binary is None or client is None or os.geteuid() != 0:
        raise LabError("bare daemons take root and an installed incusd; run sudo lab/bootstrap")
    with tempfile.TemporaryDirectory(prefix="clusterproof-bare-") as folder, _namespaces(count):
        daemons = [_Bare(Path(folder) / str(n), n, binary, client) for n in range(1, count + 1)]
        began = time.monotonic()
        try:
            for daemon in daemons:
                daemon.start()
            for daemon in daemons:
                daemon.wait()
            first = daemons[0]
            first.init(preseeds.render("bootstrap", name="m1", address=first.address))
            for number, daemon in enumerate(daemons[1:], 2):
                token = first.token(f"m{number}")
                daemon.init(preseeds.render("join", name=f"m{number}", address=daemon.address, token=token))
            api = Api(str(first.socket), name="bare", transcript=Transcript())
            eventually(
                lambda: [m["status"] for m in api.get("cluster/members", recursion=1)],
                lambda seen: seen == ["Online"] * count,
                within=_LIMIT,
                every=0.02,
                what="bare daemons Online",
            )
            return time.monotonic() - began
        finally:
            for daemon in daemons:
                daemon.stop()


class _Bare:
    def __init__(self, folder: Path, number: int, binary: Path, client: str) -> None:
        self.folder = folder
        self.socket = folder / "unix.socket"
        self.namespace = f"{_BRIDGE}-{number}"
        self.address = f"{_SUBNET}.{number}:8443"
        self._binary = binary
        self._client = client
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.folder.mkdir()
        daemon = [str(self._binary), "--group", "root", "--logfile", str(self.folder / "log")]
        self._process = subprocess.Popen(
            ["ip", "netns", "exec", self.namespace, *daemon],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env=os.environ | {"INCUS_DIR": str(self.folder)}, start_new_session=True,
        )  # fmt: skip

    def wait(self) -> None:
        def answers() -> bool:
            if not self.socket.exists():
                return False
            Api(str(self.socket), name="bare", transcript=Transcript(), timeout=5)
            return True

        eventually(answers, within=_LIMIT, every=0.02, what=f"bare daemon {self.namespace} answers")

    def init(self, seed: str) -> None:
        self._run("admin", "init", "--preseed", stdin=seed)

    def token(self, name: str) -> str:
        return self._run("cluster", "add", name, "--force-local", "--quiet").strip().splitlines()[-1]

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(_LIMIT)
        # A daemon leaves its own mounts behind.
        for line in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            target = line.split()[1]
            if target.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", target], check=False, timeout=_LIMIT)

    def _run(self, *args: str, stdin: str | None = None) -> str:
        # The client itself looks for the cluster when it joins, so it is in the namespace too.
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, self._client, *args],
            input=stdin, capture_output=True, text=True, check=False, timeout=_LIMIT,
            env=os.environ | {"INCUS_DIR": str(self.folder), "HOME": str(self.folder)},
        )  # fmt: skip
        if done.returncode:
            raise LabError(f"bare daemon {self.namespace}: {' '.join(args)}: {done.stderr.strip()}")
        return done.stdout


@contextmanager
def _namespaces(count: int) -> Iterator[None]:
    """Network namespaces with one address each on a bridge of their own, in a namespace of its own too.

    None of it is connected to the host's network.
    """
    names = [f"{_BRIDGE}-{number}" for number in range(1, count + 1)]
    try:
        for name in (_BRIDGE, *names):
            _ip("netns", "add", name)
        _ip("-n", _BRIDGE, "link", "add", "br0", "type", "bridge")
        _ip("-n", _BRIDGE, "link", "set", "br0", "up")
        for number, name in enumerate(names, 1):
            peer = f"p{number}"
            _ip("-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", peer, "netns", _BRIDGE)
            _ip("-n", _BRIDGE, "link", "set", peer, "master", "br0", "up")
            _ip("-n", name, "address", "add", f"{_SUBNET}.{number}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in (*names, _BRIDGE):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False, timeout=10)


def _ip(*args: str) -> None:
    done = subprocess.run(["ip", *args], capture_output=True, text=True, check=False, timeout=10)
    if done.returncode:
        raise LabError(f"ip {' '.join(args)}: {done.stderr.strip()}")
