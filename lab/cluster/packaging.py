"""How a build is packaged, as far as whoever handles its server on a member has to know it.

A package's server is the main process of its unit and sees the member's mounts. A snap's unit runs a script, and
the server is a child of that: it has left the unit's cgroup, stopping the unit shuts all instances down as for a
shutdown of the host, and what the server mounts is in the snap's own mount namespace (snapcraft/commands of LXD,
daemon.start and daemon.stop; cmd/snap-confine of snapd). What a command means is the same for both.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import PurePosixPath

from clusterproof.lab.builds.product import ProductFacts

# What is written into a member's journal before its daemon is ended, so that the end is not taken for a crash.
TAG, ENDING = "clusterproof", "daemon-killed"
# With the socket systemd also stops the unit that starts instances at boot, and that one's end would shut
# all instances down.
_SPARE_INSTANCES = (
    "mkdir -p /run/systemd/system/{startup}.d && "
    "printf '[Service]\\nExecStop=\\n' > /run/systemd/system/{startup}.d/clusterproof.conf && "
    "systemctl daemon-reload; "
)
# A server that was ended stays so, also where it had no time to end in order.
_FOR_GOOD = "/run/systemd/system/{service}.d/clusterproof.conf"
# snap-confine makes the snap's mount namespace for the first command and keeps it. A kernel may refuse to keep
# one that it takes for older than its own ("cannot preserve mount namespace: Invalid argument", mnt_ns_loop in
# fs/namespace.c; seen at random on 6.18), so that the first command fails.
_PREPARE = (
    "count=0; until nsenter --mount={namespace} true 2>/dev/null; do count=$((count + 1)); "
    "snap run --shell {snap}.lxc -c true || [ $count -lt 20 ] || exit 1; done"
)
# Where there is no namespace of the snap, nothing was mounted in it.
_BESIDE = 'nsenter --mount="$0" true 2>/dev/null && exec nsenter --mount="$0" -- "$@"; exec "$@"'


class Packaging(ABC):
    """Shell commands about the server, all for root on the member, for a product with ``facts``."""

    def __init__(self, facts: ProductFacts) -> None:
        self.facts = facts
        self.service, self.socket = facts.units.service, facts.units.socket

    @property
    def prepare(self) -> str:
        """Prepares a member that has just booted for the first command of the product; else nothing."""
        return ""

    @property
    @abstractmethod
    def asks_pid(self) -> str:
        """Prints the server's process id, 0 where it does not run."""

    @property
    def asks_left(self) -> str:
        """Prints the process id of what is left of server and unit, 0 once both have ended and systemd knows."""
        return self.asks_pid

    @property
    def start(self) -> str:
        """Starts socket and service. How often a scenario does is not for systemd to limit."""
        return (
            f"systemctl reset-failed {self.socket} {self.service} 2>/dev/null; "
            f"systemctl start --no-block {self.socket} {self.service}"
        )

    @property
    @abstractmethod
    def stop(self) -> str:
        """Ends the server so that no client's call starts it again; its instances keep running."""

    @property
    @abstractmethod
    def kill(self) -> str:
        """Kills the server (signal 9) for good; its instances keep running."""

    def beside(self, argv: list[str]) -> list[str]:
        """Return the command that runs ``argv`` where the server's mounts are."""
        return argv

    def seen(self, path: str) -> str:
        """Return ``path`` of the member as the server sees it."""
        return path

    @property
    def programs(self) -> tuple[str, ...]:
        """Where the server's program may be; it is the first that is a program."""
        return (self.facts.daemon,)

    @property
    def replaced_by(self) -> str:
        """Where a changed copy of the server's program takes its place."""
        return self.facts.daemon

    @property
    def journal(self) -> str:
        """Journalctl's matches for what the server prints and what systemd says of it."""
        return f"_SYSTEMD_UNIT={self.service} + UNIT={self.service}"

    @property
    def environment(self) -> dict[str, str]:
        """What the script that collects evidence needs to know beside the facts."""
        return {}

    @property
    def asks_parts(self) -> str:
        """Prints what the build consists of, a line each, where that has identities of its own; else nothing."""
        return ""

    @property
    def asks_installed(self) -> str:
        """Prints what is installed, one line each, where the product may change that by itself; else nothing."""
        return ""

    @property
    def _asks_main(self) -> str:
        return f"systemctl show --property=MainPID --value {self.service}"

    @property
    def _announce(self) -> str:
        return f"logger --tag {TAG} {ENDING}"


class _Package(Packaging):
    @property
    def asks_pid(self) -> str:
        return self._asks_main

    @property
    def stop(self) -> str:
        return (
            f"{self._spare_instances}systemctl stop --no-block {self.socket} {self.service}; "
            f"systemctl kill --kill-whom=main {self.service} || true"
        )

    @property
    def kill(self) -> str:
        return (
            f"{self._spare_instances}{self._announce}; systemctl stop --no-block {self.socket}; "
            f"systemctl kill --kill-whom=main --signal=KILL {self.service}; "
            f"systemctl stop --no-block {self.service}"
        )

    @property
    def _spare_instances(self) -> str:
        return _SPARE_INSTANCES.format(startup=self.facts.units.startup)


class _Snap(Packaging):
    def __init__(self, facts: ProductFacts) -> None:
        super().__init__(facts)
        # The snap's folders: /var/snap/lxd/common is that for what outlives a revision.
        self._common = PurePosixPath(facts.state_dir).parent
        self._snap = self._common.parent.name
        self._namespace = f"/run/snapd/ns/{self._snap}.mnt"

    @property
    def prepare(self) -> str:
        return _PREPARE.format(namespace=self._namespace, snap=self._snap)

    @property
    def asks_pid(self) -> str:
        return (
            f"pid=$(cat {self.facts.pid_file} 2>/dev/null); "
            f"case $(cat /proc/$pid/comm 2>/dev/null) in {self.facts.name}*) echo $pid ;; *) echo 0 ;; esac"
        )

    @property
    def asks_left(self) -> str:
        return f"pid=$({self.asks_pid}); if [ $pid = 0 ]; then {self._asks_main}; else echo $pid; fi"

    @property
    def start(self) -> str:
        drop_in = _FOR_GOOD.format(service=self.service)
        return f"if [ -e {drop_in} ]; then rm {drop_in} && systemctl daemon-reload; fi; {super().start}"

    @property
    def stop(self) -> str:
        # The script above the server ends with it. Where there is no server, it may just start one.
        return (
            f"{self._ends_for_good}pid=$({self.asks_pid}); "
            f"if [ $pid = 0 ]; then systemctl stop --no-block {self.service}; else kill -TERM $pid; fi"
        )

    @property
    def kill(self) -> str:
        return (
            f"{self._ends_for_good}pid=$({self.asks_pid}); "
            f"[ $pid = 0 ] || kill -KILL $pid; systemctl stop --no-block {self.service}"
        )

    def beside(self, argv: list[str]) -> list[str]:
        return ["sh", "-c", _BESIDE, self._namespace, *argv]

    def seen(self, path: str) -> str:
        # Its own root file system is that of the base.
        return path if path.startswith(f"{self._common}/") else f"/var/lib/snapd/hostfs{path}"

    @property
    def programs(self) -> tuple[str, ...]:
        return (self.facts.daemon, self.facts.daemon.replace("/sbin/", "/bin/"))

    @property
    def replaced_by(self) -> str:
        # What upstream's own tests put there; the snap itself cannot be written to.
        return f"{self._common}/lxd.debug"

    @property
    def journal(self) -> str:
        # Of a process that has left the unit's cgroup the journal may not know the unit.
        return f"{super().journal} + SYSLOG_IDENTIFIER={self._snap}.daemon"

    @property
    def environment(self) -> dict[str, str]:
        return {"SNAP": self._snap, "NAMESPACE": self._namespace}

    @property
    def asks_parts(self) -> str:
        own = "dpkg-query --show --showformat='snapd package ${Version}\\n' snapd"
        return f"snap list | awk 'NR > 1 {{print $1, $3}}'; {own}"

    @property
    def asks_installed(self) -> str:
        return f"ls /snap/{self._snap} | grep -v '^current$'"

    @property
    def _ends_for_good(self) -> str:
        drop_in = _FOR_GOOD.format(service=self.service)
        return (
            f"mkdir -p {drop_in.rpartition('/')[0]} && printf '[Service]\\nRestart=no\\n' > {drop_in} && "
            f"systemctl daemon-reload; {self._announce}; systemctl stop --no-block {self.socket}; "
        )


_KINDS: dict[str, type[Packaging]] = {"package": _Package, "snap": _Snap}


def of(facts: ProductFacts) -> Packaging:
    """Return how a product with ``facts`` is packaged."""
    return _KINDS[facts.packaged](facts)
