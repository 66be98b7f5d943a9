"""A private incusd, for machines where no LXD or Incus server runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

from clusterproof.lab.core import runs
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.processes import began, children, command_line, numbers, tail
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.waiting import NotObservedError, eventually

# Where Debian's, Zabbly's and other packages put the daemon, beside the search path.
DAEMONS = ("/usr/libexec/incus/incusd", "/opt/incus/bin/incusd")
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_NEEDED = 1024
CGROUPS = Path("/sys/fs/cgroup")
# What liblxc asks of a binary in memory before it trusts it (src/lxc/rexec.c).
SEALS = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE


def daemon_binary() -> Path | None:
    """Return the installed incusd, or None."""
    found = shutil.which("incusd")
    if found:
        return Path(found)
    return next((Path(path) for path in DAEMONS if os.access(path, os.X_OK)), None)


class PrivateServer:
    """An incusd of the lab's own: its state, log and pid file below the lab's folder.

    It has a mount namespace of its own, so that its mounts end with its processes and, where the
    machine's control groups are of the first kind or mixed, it can be given a pure second kind.
    """

    def __init__(self, bridge: str) -> None:
        self.bridge = bridge
        self.folder = runs.folder() / "host"
        self.socket = self.folder / "unix.socket"
        self.log = runs.folder() / "host.log"
        self._pid_file = runs.folder() / "host.pid"

    def ensure(self) -> Path:
        """Return the socket of a server that answers, starting one where none does.

        Raises LabError where it cannot be started, with the end of its log.
        """
        with runs.lock("host"):
            if not self.answers():
                self._stop_daemon()
                self._start(within=self._survivor())
        return self.socket

    def answers(self) -> bool:
        """Say whether the server answers, within five seconds."""
        if not self.socket.exists():
            return False
        try:
            Api(str(self.socket), name="host", transcript=Transcript(), timeout=5)
        except ApiError:
            return False
        return True

    def stop(self, idle: Callable[[], bool] = lambda: True) -> bool:
        """End the server and every process it left, if it is ``idle``; say whether it was. Its data stay.

        A run that begins meanwhile has marked itself as alive before it looks for the server, so it is
        either seen by ``idle`` or waits here and then starts the server again.
        """
        with runs.lock("host"):
            if not idle():
                return False
            self._stop_daemon()
            for pid in self._survivors():
                _kill(pid, signal.SIGKILL)
            # The bridge outlives its server; the next one makes it again from its database.
            subprocess.run(
                ["ip", "link", "delete", self.bridge], capture_output=True, check=False, timeout=10
            )
            return True

    def running(self) -> bool:
        """Say whether a process of the server is alive."""
        return self._daemon_pid() is not None or bool(self._survivors())

    def _start(self, within: int | None) -> None:
        """Start incusd, in the mount namespace of process ``within`` where one is given.

        Members outlive a killed daemon; their mounts are in its namespace, which a new daemon has to
        share to find them.
        """
        binary = daemon_binary()
        if binary is None:
            raise LabError("no incusd on this machine; run lab/bootstrap, or name a server with --lab-host")
        self.folder.mkdir(parents=True, exist_ok=True)
        _raise_inotify_limit()
        self.socket.unlink(missing_ok=True)
        try:
            sealed = _sealed(binary)
        except OSError as error:
            raise LabError(f"{binary} cannot be copied into memory: {error.strerror}") from error
        daemon = (
            f"export INCUS_EXEC_PATH=/proc/$$/fd/{sealed}; "
            f'exec "{binary}" --group root --logfile "{self.log}"'
        )
        if within is not None:
            argv = ["nsenter", f"--mount=/proc/{within}/ns/mnt", "sh", "-c", daemon]
        else:
            argv = ["unshare", "--mount", "--propagation", "private", "sh", "-ec", _cgroups() + daemon]
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

    def _daemon_pid(self) -> int | None:
        """Return the daemon's pid if the process in the pid file is still that one."""
        try:
            pid, started = self._pid_file.read_text().split()
        except (OSError, ValueError):
            return None
        return int(pid) if began(int(pid)) == started else None

    def _stop_daemon(self) -> None:
        pid = self._daemon_pid()
        if pid is not None:
            for sign, patience in ((signal.SIGTERM, 10), (signal.SIGKILL, 5)):
                _kill(pid, sign)
                with contextlib.suppress(NotObservedError):
                    eventually(lambda: self._daemon_pid() is None, within=patience, what="incusd ends")
                    break
        self._pid_file.unlink(missing_ok=True)
        self.socket.unlink(missing_ok=True)

    def _survivors(self) -> list[int]:
        """Return the processes that an earlier daemon of this folder left behind.

        They are known by their own name and the folder in their command line, so that somebody who
        looks at one of its files is left alone. A member's first process is its monitor's child.
        """
        monitor = f"[lxc monitor] {self.folder}/".encode()
        mark = f"{self.folder}/".encode()
        found = []
        for pid in numbers():
            if pid != os.getpid():
                line = command_line(pid)
                name = line.partition(b"\0")[0].rpartition(b"/")[2]
                if line.startswith(monitor) or (mark in line and name in (b"incusd", b"dnsmasq")):
                    found += [pid, *children(pid)]
        return found

    def _survivor(self) -> int | None:
        """Return a surviving monitor, whose mount namespace is the earlier daemon's."""
        return next((p for p in self._survivors() if command_line(p).startswith(b"[lxc monitor]")), None)


def _sealed(binary: Path) -> int:
    """Return a file descriptor of a copy of ``binary`` in memory that nobody can change any more.

    For each command in a member incusd starts itself anew, and liblxc makes such a copy each time, lest the
    member writes to the binary (CVE-2019-5736). That costs more than the command; a sealed binary is not
    copied again.
    """
    copy = os.memfd_create("incusd", os.MFD_ALLOW_SEALING)
    with binary.open("rb") as source, open(copy, "wb", closefd=False) as target:
        shutil.copyfileobj(source, target)
    fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
    return copy


def _cgroups() -> str:
    """Return the shell lines that give the daemon control groups of the second kind, if need be."""
    if (CGROUPS / "cgroup.controllers").exists():
        return ""
    return f"umount -R -l {CGROUPS} 2>/dev/null || true; mount -t cgroup2 none {CGROUPS}; "


def _raise_inotify_limit() -> None:
    """Let root have as many inotify instances as Incus's own packages ask for.

    Privileged members share the limit of root; many members at once fail in ways that look like a
    product's fault.
    """
    with contextlib.suppress(OSError, ValueError):
        if int(INOTIFY.read_text()) < INOTIFY_NEEDED:
            INOTIFY.write_text(str(INOTIFY_NEEDED))


def _kill(pid: int, sign: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, sign)
