"""A real Ceph cluster of one node: a monitor, manager, OSD and metadata server of this computer's packages.

Its clients are members that are VMs and reach it at an address of this computer.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from filelock import Timeout

from clusterproof.lab.cluster.member import Member
from clusterproof.lab.core import runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.known_secrets import register
from clusterproof.lab.core.processes import Process
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host.capabilities import CEPH
from clusterproof.lab.host.host import Host

# Seconds until it is healthy; it takes about fifteen.
HEALTHY = 60.0
TOOL = 20
# Seconds to wait for another cell's Ceph: the monitor's port is taken for minutes.
PATIENCE = 600
# Bytes of the OSD's sparse file.
SIZE = 4 << 30
DATA, META, RBD, FILE_SYSTEM = "cephfs-data", "cephfs-meta", "rbd-pool", "lab"
# Health checks that do not matter on one node.
MUTED = ("POOL_NO_REDUNDANCY", "TOO_FEW_OSDS", "OSDMAP_FLAGS", "MON_DISK_LOW", "MON_MSGR2_NOT_ENABLED")

CLIENT_KEYRING = "/etc/ceph/ceph.client.admin.keyring"
CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = {address}
mon initial members = a
public addr = {address}
ms bind msgr2 = false
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
mon allow pool delete = true
mon allow pool size one = true
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
keyring = {keyring}
"""
# For the daemons only. They have no admin socket, whose path would be too long.
DAEMONS = """\
admin socket =
pid file =
crash dir = {folder}/crash
log file = {folder}/$name.log
mon data = {folder}/mon
mon cluster log file = {folder}/cluster.log
mgr data = {folder}/mgr
mds data = {folder}/mds
osd data = {folder}/osd
osd objectstore = bluestore
osd memory target = 939524096
bluestore block create = true
bluestore block size = {size}
"""


class Ceph:
    """A Ceph cluster of one node at ``address``, an address of this computer. Raises LabError where it fails."""

    def __init__(self, run: runs.Run, address: str, transcript: Transcript) -> None:
        self.address = address
        self.transcript = transcript
        self.fsid = str(uuid.uuid4())
        self.folder = run.folder / f"ceph-{self.fsid[:8]}"
        self._keyring = self.folder / "keyring"
        self._daemons = {
            kind: Process(run.folder, f"ceph-{kind}-{self.fsid[:8]}") for kind in ("mon", "mgr", "osd", "mds")
        }

    def start(self) -> None:
        """Make and start it, with a file system and a pool for RBD, and wait until it is healthy."""
        with self.transcript.step("lab", "host", "start Ceph"):
            self._start_all()

    def _start_all(self) -> None:
        for name in ("mon", "mgr", "mds", "osd", "crash"):
            (self.folder / name).mkdir(parents=True, mode=0o700)
        values = {"fsid": self.fsid, "address": self.address, "folder": self.folder, "size": SIZE}
        values["keyring"] = self._keyring
        (self.folder / "ceph.conf").write_text((CONFIGURATION + DAEMONS).format(**values))
        self._make_keys()
        self._run("monmaptool", "--create", "--addv", "a", f"[v1:{self.address}:6789]", "--fsid", self.fsid,
                  str(self.folder / "monmap"))  # fmt: skip
        self._run("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(self.folder / "monmap"),
                  "--keyring", str(self._keyring))  # fmt: skip
        self._start("mon", "a")
        self._make_object_store()
        for kind, name in (("osd", "0"), ("mgr", "x"), ("mds", "a")):
            self._start(kind, name)
        for pool in (META, DATA, RBD):
            self.command("osd", "pool", "create", pool, "8")
        self.command("osd", "pool", "application", "enable", RBD, "rbd")
        self.command("fs", "new", FILE_SYSTEM, META, DATA)
        self._wait_healthy()

    def stop(self) -> None:
        """Kill it, as a power cut would."""
        with self.transcript.step("fault", "host", "stop Ceph"):
            self._end()

    def destroy(self) -> None:
        """Stop and remove it."""
        self._end()

        def is_removed() -> bool:
            # What a daemon had started may outlive it for a moment, and write here.
            shutil.rmtree(self.folder, ignore_errors=True)
            return not self.folder.exists()

        with contextlib.suppress(NotObservedError):
            eventually(is_removed, within=5)

    def admit(self, member: Member) -> None:
        """Give ``member`` the configuration and the administrator's key."""
        member.run(["mkdir", "-p", "/etc/ceph"], check=True)
        values = {"fsid": self.fsid, "address": self.address, "keyring": CLIENT_KEYRING}
        member.write("/etc/ceph/ceph.conf", CONFIGURATION.format(**values))
        member.write(CLIENT_KEYRING, self._admin_key(), 0o600)

    def command(self, *args: str) -> Any:  # noqa: ANN401
        """Return the output of ``ceph``, parsed where it is JSON."""
        text = self._run("ceph", "--connect-timeout", str(TOOL), "--format", "json", *args)
        try:
            return json.loads(text)
        except ValueError:
            return text

    def keep_logs(self, folder: Path) -> None:
        """Copy the last megabyte of each daemon's log to ``folder``."""
        with contextlib.suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
            for log in self.folder.glob("*.log"):
                (folder / log.name).write_text(log.read_text(errors="replace")[-1_000_000:])

    def _end(self) -> None:
        for daemon in self._daemons.values():
            daemon.end()

    def _start(self, kind: str, name: str) -> None:
        argv = [f"ceph-{kind}", "--foreground", "-i", name, "-c", str(self.folder / "ceph.conf")]
        self._daemons[kind].start(argv, cwd=self.folder)

    def _make_keys(self) -> None:
        caps = {
            "mon.": {"mon": "allow *"},
            "client.admin": dict.fromkeys(("mon", "osd", "mds", "mgr"), "allow *"),
            "mgr.x": {"mon": "allow profile mgr", "osd": "allow *", "mds": "allow *"},
            "mds.a": {"mon": "allow profile mds", "osd": "allow rwx", "mds": "allow *"},
            "osd.0": {"mon": "allow profile osd", "mgr": "allow profile osd", "osd": "allow *"},
        }
        self._keyring.touch(mode=0o600)
        for number, (name, allowed) in enumerate(caps.items()):
            given = [text for kind, cap in allowed.items() for text in ("--cap", kind, cap)]
            create = ["--create-keyring"] if number == 0 else []
            self._run("ceph-authtool", *create, str(self._keyring), "--gen-key", "-n", name, *given)
        self._keyring.chmod(0o600)
        for key in re.findall(r"key = (\S+)", self._keyring.read_text()):
            register(key)

    def _make_object_store(self) -> None:
        self.command("auth", "import", "-i", str(self._keyring))
        identity = str(uuid.uuid4())
        self.command("osd", "new", identity, "0")
        self._run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", identity, "--no-mon-config", "--monmap",
                  str(self.folder / "monmap"))  # fmt: skip

    def _wait_healthy(self) -> None:
        try:
            eventually(self._health, lambda seen: seen == "", within=HEALTHY, every=0.3, what="Ceph is healthy")
        except NotObservedError as error:
            raise LabError(f"Ceph did not become healthy: {error}{self._ended()}") from error

    def _health(self) -> str:
        """Return what is still missing, an empty text where it can be used."""
        if ended := self._ended():
            raise LabError(f"Ceph did not become healthy{ended}")
        seen = self.command("status")
        missing = [name for name in seen["health"]["checks"] if name not in MUTED]
        states = [one["state_name"] for one in seen["pgmap"].get("pgs_by_state", [])]
        if seen["osdmap"].get("num_up_osds", seen["osdmap"].get("osdmap", {}).get("num_up_osds")) != 1:
            missing.append("no OSD is up")
        if states != ["active+clean"]:
            missing.append(f"placement groups: {', '.join(states) or 'none'}")
        if not any(rank["status"] == "up:active" for rank in seen["fsmap"].get("by_rank", [])):
            missing.append("no metadata server is active")
        return ", ".join(missing)

    def _ended(self) -> str:
        gone = [
            f"ceph-{kind} has ended: {one.tail()}" for kind, one in self._daemons.items() if one.pid() is None
        ]
        return f"; {'; '.join(gone)}" if gone else ""

    def _admin_key(self) -> str:
        key = self._run("ceph-authtool", str(self._keyring), "-n", "client.admin", "--print-key")
        return f"[client.admin]\n\tkey = {key.strip()}\n"

    def _run(self, tool: str, *args: str) -> str:
        argv = [tool, "-c", str(self.folder / "ceph.conf"), *args]
        try:
            done = subprocess.run(
                argv, capture_output=True, text=True, timeout=2 * TOOL, check=False, stdin=subprocess.DEVNULL
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LabError(f"Ceph: {tool} {args[0]} failed: {error}") from error
        if done.returncode != 0:
            stderr = " | ".join(done.stderr.strip().splitlines()[-2:])
            raise LabError(f"Ceph: {tool} {args[0]} ended with {done.returncode}: {stderr}")
        return done.stdout


@contextlib.contextmanager
def running(host: Host, transcript: Transcript, evidence: Path) -> Iterator[Ceph]:
    """Yield a healthy Ceph cluster for members on this computer, which is removed afterwards.

    Its logs are copied to ``evidence``. Raises LabError, also where it does not become healthy.
    """
    if absent := [tool for tool in CEPH if shutil.which(tool) is None]:
        raise LabError(f"Ceph needs {', '.join(absent)}; run lab/bootstrap --vm")
    lock = runs.lock("ceph")
    try:
        lock.acquire(timeout=PATIENCE)
    except Timeout as error:
        raise LabError(f"another run has used Ceph on this computer for {PATIENCE} s") from error
    ceph = Ceph(host.run, str(host.gateway.ip), transcript)
    try:
        ceph.start()
        yield ceph
    finally:
        ceph.keep_logs(evidence)
        ceph.destroy()
        lock.release()
