"""A member of a cluster: it runs one build, with everything a scenario may do to it."""

from __future__ import annotations

import re
import shlex
from typing import NamedTuple

import testinfra.backend.base
from testinfra.host import Host as Inspector

from clusterproof.builds import Build
from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.cluster.daemon import Daemon
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.images.image import Image
from clusterproof.lab.substrates.machine import Machine, Result

TIMEOUT = 30.0
# How the clients' texts on how they are used begin.
USAGE = re.compile(r"(Description:\n.*\n\n)?Usage:\n", re.DOTALL)
# A container image of a megabyte that every member carries; it starts within a second. TINY is its alias.
TINY, TINY_IMAGE = "tiny", "/opt/clusterproof/tiny.tar.gz"
# Options of ``init --empty --vm``: a VM without an operating system, as small as firmware allows.
TINY_VM = ("--config=limits.memory=256MiB", "--config=security.secureboot=false")
# Nested acceleration inside an emulated VM may make QEMU abort (assertion bql_locked in accel/tcg, QEMU
# 10.0); with a processor that its own QEMU emulates, the inner VM does not need it.
EMULATED_VM = "--config=raw.qemu=-machine accel=tcg -cpu max"


class Mount(NamedTuple):
    """A mount: what is mounted, where, and which kind of filesystem it is."""

    device: str
    path: str
    filesystem: str


class CommandError(Exception):
    """A command in a member ended with another status than 0, where that was not allowed."""


class Member:
    """One member; ``name`` is its name in the cluster, ``machine`` the container or VM that it is.

    ``daemon`` is the product's daemon on it. ``inspect`` is testinfra's host object, for looking at files,
    mounts, services, sockets and processes. Times are seconds. A failure of the machine itself is a LabError.
    """

    def __init__(self, name: str, machine: Machine, transcript: Transcript) -> None:
        self.name = name
        self.machine = machine
        self.transcript = transcript
        self.daemon = Daemon(self)
        self.inspect = Inspector(_Backend(self))

    def __repr__(self) -> str:
        return f"<member {self.name}: {self.build.name} on {self.machine.name}>"

    @property
    def image(self) -> Image:
        """The image that it runs."""
        return self.machine.image

    @property
    def build(self) -> Build:
        """The build that is installed."""
        return self.image.build

    @property
    def facts(self) -> ProductFacts:
        """What the product is: names of its commands, units, folders."""
        return self.image.facts

    @property
    def address(self) -> str:
        """The IPv4 address."""
        return self.machine.address

    def run(
        self,
        command: str | list[str],
        *,
        stdin: str | bytes | None = None,
        timeout: float = TIMEOUT,
        check: bool = False,
        beside_daemon: bool = False,
    ) -> Result:
        """Run a command as root; a string goes through the shell.

        With ``beside_daemon`` it sees the mounts that the daemon sees, and the daemon what it mounts: a snap has
        mounts of its own. Raises CommandTimeoutError after ``timeout`` seconds, CommandError with ``check`` when
        it ends with another status than 0.
        """
        argv = ["sh", "-c", command] if isinstance(command, str) else command
        given = stdin.encode() if isinstance(stdin, str) else stdin
        what = command if isinstance(command, str) else shlex.join(command)
        if beside_daemon:
            argv = self.daemon.packaging.beside(argv)
        with self.transcript.step("run", self.name, what) as step:
            if given is not None:
                step["stdin"] = given.decode(errors="replace")
            result = self.machine.execute(argv, timeout=timeout, stdin=given)
            step.update(rc=result.rc, stdout=result.stdout, stderr=result.stderr)
        if check and not result.ok:
            raise CommandError(
                f"{self.name}: {what!r} ended with {result.rc}: {(result.stderr or result.stdout).strip()}"
            )
        return result

    def client(self, *args: str, timeout: float = TIMEOUT, check: bool = True) -> Result:
        """Run the product's own command line client (``lxc`` or ``incus``) with ``args``.

        Raises CommandError where it fails, with ``check``, and where it prints how it is used: it does so, with
        status 0, for a subcommand that it does not know, and has done nothing then.
        """
        result = self.run([self.facts.client, *args], timeout=timeout, check=check)
        if result.ok and USAGE.match(result.stdout) and not {"--help", "-h", "help"} & set(args):
            raise CommandError(f"{self.name}: {shlex.join(args)!r} is no command: the client printed its usage")
        return result

    def launch(self, name: str, *options: str, timeout: float = TIMEOUT) -> None:
        """Create and start a container of the tiny image. Raises CommandError."""
        self._import_image()
        self.client("launch", TINY, name, *options, timeout=timeout)

    def init(self, name: str, *options: str, timeout: float = TIMEOUT) -> None:
        """Create, but do not start, a container of the tiny image. Raises CommandError."""
        self._import_image()
        self.client("init", TINY, name, *options, timeout=timeout)

    def _import_image(self) -> None:
        """Give the member's cluster the tiny image, unless it has it already."""
        client = self.facts.client
        self.run(
            f"{client} image info {TINY} >/dev/null 2>&1 || {client} image import {TINY_IMAGE} --alias {TINY}",
            check=True,
        )

    def init_vm(self, name: str, *options: str) -> None:
        """Create, but do not start, a VM without an operating system. Raises CommandError."""
        emulated = [EMULATED_VM] if self.machine.emulated else []
        self.client("init", name, "--empty", "--vm", *TINY_VM, *emulated, *options, timeout=60)

    def sql(self, database: str, query: str, *, timeout: float = TIMEOUT) -> str:
        """Return what the daemon's ``sql`` command prints for ``query`` on ``global`` or ``local``."""
        argv = [*self.facts.admin, "sql", database, query]
        return self.run(argv, timeout=timeout, check=True).stdout

    def mounts(self) -> list[Mount]:
        """Return what is mounted, as the daemon sees it."""
        lines = self.run(["cat", "/proc/self/mounts"], check=True, beside_daemon=True).stdout.splitlines()
        return [Mount(*map(_unescaped, line.split()[:3])) for line in lines]

    def read(self, path: str) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        with self.transcript.step("read", self.name, path) as step:
            content = self.machine.read(path)
            step["bytes"] = len(content)
            return content

    def write(self, path: str, content: str | bytes, mode: int = 0o644) -> None:
        """Write a file, owned by root."""
        given = content.encode() if isinstance(content, str) else content
        with self.transcript.step("write", self.name, path) as step:
            step["content"] = given.decode(errors="replace")
            self.machine.write(path, given, mode)

    def stop(self) -> None:
        """Shut the member down in order."""
        with self.transcript.step("fault", self.name, "stop the member"):
            self.machine.stop()

    def kill(self) -> None:
        """Cut the member's power."""
        with self.transcript.step("fault", self.name, "kill the member"):
            self.machine.stop(force=True)

    def start(self) -> None:
        """Start the member again and wait until it has booted."""
        with self.transcript.step("lab", self.name, "start the member"):
            self.machine.start()


def _unescaped(field: str) -> str:
    """Return a field of /proc/mounts, which has blanks and the like as octal numbers (proc_pid_mountinfo(5))."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), field)


class _Backend(testinfra.backend.base.BaseBackend):  # type: ignore[misc]
    """testinfra over a member, for its file, package, process, mount and service modules."""

    NAME = "clusterproof"

    def __init__(self, member: Member) -> None:
        super().__init__(member.name)
        self._member = member

    def run(self, command: str, *args: str, **_: object) -> testinfra.backend.base.CommandResult:
        line = self.get_command(command, *args)
        result = self._member.run(line)
        return self.result(result.rc, line, result.stdout, result.stderr)
