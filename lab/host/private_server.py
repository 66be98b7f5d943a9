"""A private incusd, for computers where no LXD or Incus server runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from clusterproof.lab.core import runs
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import began, children, command_lines, tail
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host import bridge, loop_devices
from clusterproof.lab.host.names import NETWORK, POOL

# Where the packages of Debian, Zabbly and others install the daemon, outside of PATH.
DAEMONS = ("/usr/libexec/incus/incusd", "/opt/incus/bin/incusd")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_NEEDED = 1024
# Seconds for which a server that is alive is waited for before it is ended and started anew.
BUSY = 30.0
# Seconds that the kernel may take to detach the pool's loop device.
DETACHED = 20.0
# Bytes that its database and its logs need; without them it ends with a message that names no disk.
ROOM = 64 << 20
CGROUPS = Path("/sys/fs/cgroup")
# The seals that liblxc requires of a binary in memory before it trusts it (src/lxc/rexec.c).
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def daemon_binary() -> Path | None:
    """Return the installed incusd, or None."""
    found = shutil.which("incusd")
    if found:
        return Path(found)
    return next((Path(path) for path in DAEMONS if os.access(path, os.X_OK)), None)


class PrivateServer:
    """The lab's own incusd: its state, log and pid file are in the lab's folder.

    It runs in its own mount namespace, so that its mounts end with its processes. On cgroup v1 or hybrid hosts
    it gets a pure cgroup v2 mount there.
    """

    def __init__(self, network: str = NETWORK) -> None:
        self.bridge = network
        self.folder = runs.folder() / "host"
        self.socket = self.folder / "unix.socket"
        self.log = runs.folder() / "host.log"
        self._pid_file = runs.folder() / "host.pid"

    def ensure(self, *, end_members: bool = False) -> Path:
        """Return the socket of the server, which is started unless it answers.

        With ``end_members`` what a dead server left goes first: LXC's hooks lead to the dead process, so that
        the new server cannot stop those members, and their interfaces stay behind when they end.

        Raises LabError, with the end of the server's log, where it cannot be started.
        """
        with runs.lock("host"):
            if not self._answers_in_time():
                self._check_bridge()
                self._stop_daemon()
                if end_members:
                    self._end_survivors()
                self._start(within=self._monitor())
        return self.socket

    def answers(self) -> bool:
        """Say whether the server answers within five seconds."""
        if not self.socket.exists():
            return False
        try:
            Api(str(self.socket), name="host", transcript=Transcript(), timeout=5)
        except ApiError:
            return False
        return True

    def is_read_only(self) -> bool:
        """Say whether the kernel let nothing be written to its pool any more, as it does with a full btrfs."""
        pool = f" {self.folder}/storage-pools/{POOL} "
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{self.pid()}/mounts").read_text().splitlines():
                if pool in line:
                    return "ro" in line.split()[3].split(",")
        return False

    @property
    def pool(self) -> Path | None:
        """Where the pool is mounted, seen from here through the server's mounts; None while it does not run."""
        pid = self.pid()
        return Path(f"/proc/{pid}/root{self.folder}/storage-pools/{POOL}") if pid else None

    def free(self) -> int | None:
        """Return how many bytes of the pool are free, None while there is no server."""
        with contextlib.suppress(OSError):
            if pool := self.pool:
                return shutil.disk_usage(pool).free
        return None

    def stop(self, idle: Callable[[], bool] = lambda: True) -> bool:
        """Stop the server and every process it left, if it is ``idle``; say whether it was. Its data stay.

        What outlives it goes as well: the bridge, which the next server makes again from its database, the
        bridge's chains of nftables, and the loop device of its pool.

        A run that begins meanwhile marks itself as alive before it looks for the server, so either ``idle``
        sees it, or it waits for the lock and starts the server again.
        """
        with runs.lock("host"):
            if not idle():
                return False
            self._stop_daemon()
            self._end_survivors()
            if self.bridge_of_another() is None:
                bridge.delete(self.bridge)
                for chain in bridge.chains(self.bridge):
                    bridge.delete_chain(chain)
            self._wait_detached()
            return True

    def _wait_detached(self) -> None:
        """Wait until the kernel has let go of the pool: its mounts end some time after the last process."""
        for device in loop_devices.below(self.folder):
            loop_devices.detach(device)
        with contextlib.suppress(NotObservedError):
            eventually(lambda: not list(loop_devices.below(self.folder)), within=DETACHED, every=0.02)

    def running(self) -> bool:
        """Say whether a process of the server is alive."""
        return self.pid() is not None or bool(self.survivors())

    def _answers_in_time(self) -> bool:
        """Say whether the server answers; one that is alive has as long as a busy computer may take."""
        with contextlib.suppress(NotObservedError):
            eventually(lambda: self.answers() or self.pid() is None, within=BUSY, every=0.5)
        return self.answers()

    def bridge_of_another(self) -> Path | None:
        """Return the state folder of another server that has the bridge."""
        folder = bridge.served_from(self.bridge)
        return None if folder == self.folder else folder

    def _check_bridge(self) -> None:
        if folder := self.bridge_of_another():
            raise LabError(
                f"the bridge {self.bridge} belongs to the server with its state in {folder}, "
                "and a computer has room for one; end it there, or use it with --lab-host"
            )

    def _start(self, within: int | None) -> None:
        """Start incusd, in the mount namespace of process ``within`` where one is given.

        Members outlive a killed daemon. Their mounts are in its namespace, and the new daemon finds them only
        if it shares that.
        """
        binary = daemon_binary()
        if binary is None:
            raise LabError("incusd is not installed; run lab/bootstrap, or name a server with --lab-host")
        runs.check_room(ROOM)
        self.folder.mkdir(parents=True, exist_ok=True)
        _raise_inotify_limit()
        self.socket.unlink(missing_ok=True)
        try:
            sealed = _sealed(binary)
        except OSError as error:
            raise LabError(f"{binary} cannot be copied into memory: {error.strerror}") from error
        daemon = (
            f"export INCUS_EXEC_PATH=/proc/$$/fd/{sealed}; "
            f"exec {shlex.join([str(binary), '--group', 'root', '--logfile', str(self.log)])}"
        )
        if within is not None:
            argv = ["nsenter", f"--mount=/proc/{within}/ns/mnt", "sh", "-c", daemon]
        else:
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _pure_cgroup_v2() + daemon]
        environment = {
            **os.environ,
            "INCUS_DIR": str(self.folder),
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin:{binary.parent}",
        }
        output = runs.folder() / "host.out"
        try:
            with output.open("wb") as out:
                process = subprocess.Popen(
                    argv, stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment,
                    cwd="/", start_new_session=True, pass_fds=(sealed,),
                )  # fmt: skip
        except OSError as error:
            raise LabError(
                f"a private incusd cannot be started: {error.filename}: {error.strerror}; run lab/bootstrap"
            ) from error
        finally:
            os.close(sealed)
        self._pid_file.write_text(f"{process.pid} {began(process.pid)}")
        try:
            eventually(
                lambda: process.poll() is not None or self.answers(), within=60, what="incusd answers"
            )
        except NotObservedError as error:
            raise LabError(f"{binary} does not answer after 60 s: {tail(self.log)}") from error
        if process.poll() is not None:
            raise LabError(
                f"{binary} ended at once with {process.returncode}: {tail(output) or tail(self.log)}"
            )

    def pid(self) -> int | None:
        """Return the daemon's process id, None where the process in the pid file has ended."""
        try:
            pid, started = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if began(int(pid)) == started else None

    def _stop_daemon(self) -> None:
        pid = self.pid()
        if pid is not None:
            for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
                _kill(pid, sign)
                with contextlib.suppress(NotObservedError):
                    eventually(lambda: self.pid() is None, within=patience, what="incusd ends")
                    break
        self._pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def _end_survivors(self) -> None:
        for pid in self.survivors():
            _kill(pid, signal.SIGKILL)

    def survivors(self) -> list[int]:
        """Return the processes that an earlier daemon of this folder left behind.

        They are identified by their program and this folder in their command line; other programs that have
        one of its files open are left alone. A member's first process is its monitor's child.
        """
        found = []
        for pid, argv in command_lines():
            line = " ".join(argv)
            program = argv[0].rpartition("/")[2] if argv else ""
            left_behind = program in ("incusd", "dnsmasq") and f"{self.folder}/" in line
            if pid != os.getpid() and (left_behind or line.startswith(self._monitor_title)):
                found += [pid, *children(pid)]
        return found

    def _monitor(self) -> int | None:
        """Return the monitor of a surviving member: its mount namespace is the earlier daemon's."""
        return next(
            (pid for pid, argv in command_lines() if " ".join(argv).startswith(self._monitor_title)), None
        )

    @property
    def _monitor_title(self) -> str:
        """What the command line of LXC's monitor of one of the server's containers begins with."""
        return f"[lxc monitor] {self.folder}/"


def _sealed(binary: Path) -> int:
    """Return the file descriptor of a sealed copy of ``binary`` in memory, which cannot be changed any more.

    incusd executes itself for each command in a member, and liblxc copies it into memory each time so that the
    member cannot overwrite it (CVE-2019-5736). The copy takes longer than the command; liblxc does not copy a
    binary that is sealed already.
    """
    copy = os.memfd_create("incusd", os.MFD_ALLOW_SEALING)
    with binary.open("rb") as source, open(copy, "wb", closefd=False) as target:
        shutil.copyfileobj(source, target)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
    return copy


def _pure_cgroup_v2() -> str:
    """Return the shell commands that mount cgroup v2 alone; nothing where the host has it so."""
    if (CGROUPS / "cgroup.controllers").exists():
        return ""
    return f"umount -R -l {CGROUPS} 2>/dev/null || true; mount -t cgroup2 none {CGROUPS}; "


def _raise_inotify_limit() -> None:
    """Raise root's limit of inotify instances to what Incus's own packages set.

    All privileged members share root's limit; beyond it they fail in ways that look like a product's fault.
    """
    with contextlib.suppress(OSError, ValueError):
        if int(INOTIFY.read_text()) < INOTIFY_NEEDED:
            INOTIFY.write_text(str(INOTIFY_NEEDED))


def _kill(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
