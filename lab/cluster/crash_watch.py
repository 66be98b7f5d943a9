"""The crash watch: whether a member's daemon ended by itself, and what it said.

Read from the member's journal, where systemd notes each end of the service's main process (catalogue entry
``SD_MESSAGE_UNIT_PROCESS_EXIT``) and each stop that somebody asked for (``SD_MESSAGE_UNIT_STOPPING``), both
documented in systemd.journal-fields(7) and sd-messages.h. An end that nobody asked for is the daemon's own.

Go's runtime takes a signal such as SIGABRT for a crash: it prints ``SIGABRT: abort`` and ``PC=... sigcode=N``,
where N is the kernel's si_code, and ends with exit status 2 (runtime/signal_unix.go). abort() in a C library
sends it by tgkill (SI_TKILL, sigaction(2)), somebody else by kill (SI_USER) or sigqueue (SI_QUEUE). So an abort
of the daemon's own and one from outside differ, unless that is sent by tgkill, too, or ends the daemon without
a word of Go's: then it counts as the daemon's, as neither a scenario nor the lab sends it.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from clusterproof.builds import Build
from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.cluster import packaging
from clusterproof.lab.cluster.packaging import ENDING, TAG
from clusterproof.lab.substrates.machine import Result

EXITED = "98e322203f7a4ed290d09fe03c09fe15"
STOPPING = "de5b426a63be47a7b6ac3eaac82e2f6f"
STARTING = ("7d4958e842da4a758f6c1cdc7b36dcc5", "39f53479d3a045ac8e11786248231fbf")
# Signals by which a daemon ends itself: abort (an assertion), and what the kernel sends for its own mistakes.
OWN_SIGNALS = {"4": "ILL", "6": "ABRT", "7": "BUS", "8": "FPE", "11": "SEGV"}
# What Go's runtime, its HTTP server, and the C libraries below (dqlite, raft, libuv) say of a crash.
SAID = re.compile(
    r"^(?P<panic>panic: |fatal error: |http: panic serving |runtime: goroutine stack exceeds)"
    r"|(?P<assertion>[Aa]ssertion .+ failed)"
    r"|^(?P<signal>SIG[A-Z]+): "
)
# A shell's exit status for a child that a signal has ended is this and the signal's number.
_BY_SIGNAL = 128
# In the second line of what Go says of a signal: SI_USER, and SI_QUEUE (-1) as Go prints it.
SENT = re.compile(rf"^PC=\S+ .*\bsigcode=(0|{2**64 - 1})\b")
_STACK = 40  # lines of a stack that count
_SHOWN = 12  # lines of it that are kept in a result
# What differs between two equal crashes: addresses, numbers of goroutines, arguments, times.
_VARIES = re.compile(r"0x[0-9a-f]+\??|\([^()]*\)$|\d{4}/\d\d/\d\d \S+|[0-9a-f]{8,}|\d+")

Kind = Literal["panic", "assertion", "signal", "exit", "killed"]


class RunsJournal(Protocol):
    """What the watch needs of a member."""

    name: str

    @property
    def build(self) -> Build:
        """The build that is installed."""

    @property
    def facts(self) -> ProductFacts:
        """What the product is: the name of its service."""

    def run(self, command: str | list[str], *, timeout: float = 30.0) -> Result:
        """Run a command as root."""


@dataclass(frozen=True)
class Crash:
    """One end or panic of a daemon that nobody asked for.

    ``build`` is the name of the build that ran then. ``kind``: ``panic`` and ``assertion`` by what it said,
    ``signal`` by one that it brought upon itself, ``exit`` with another status than 0, ``killed`` by a signal
    from outside, which is no fault of the product. ``status`` is the exit status or the signal's number, empty
    where the process went on. ``lines`` are the first of what it said, ``digest`` is the same for equal crashes.
    """

    member: str
    build: str
    kind: Kind
    status: str
    lines: tuple[str, ...]
    digest: str


def crashes(member: RunsJournal) -> list[Crash]:
    """Return what the journal of ``member`` has, in the order in which it happened.

    Raises CommandTimeoutError and LabError as the member's ``run`` does.
    """
    fields = "MESSAGE,MESSAGE_ID,EXIT_CODE,EXIT_STATUS,SYSLOG_IDENTIFIER"
    argv = (
        f"journalctl --sync; journalctl --no-pager --output=json --output-fields={fields} "
        f"{packaging.of(member.facts).journal} + SYSLOG_IDENTIFIER={TAG}"
    )
    return list(found_in(member.name, member.build.name, member.run(argv, timeout=60).stdout.splitlines()))


def found_in(member: str, build: str, lines: Iterable[str]) -> Iterator[Crash]:
    """Yield the crashes in ``lines`` of a journal in JSON; what is no entry is passed over."""
    watch = _Watch(member, build)
    for entry in _entries(lines):
        yield from watch.take(entry)
    yield from watch.rest()


class _Watch:
    """Goes through a journal.

    ``asked`` is set while an end of the daemon was asked for, ``said`` is what it said of a crash.
    """

    def __init__(self, member: str, build: str) -> None:
        self.member = member
        self.build = build
        self.asked = False
        self.said: list[str] = []

    def take(self, entry: dict[str, str]) -> Iterator[Crash]:
        """Take the next entry; yield what is known to be a crash by it."""
        kind, message = entry.get("MESSAGE_ID"), entry["MESSAGE"]
        if kind in STARTING:
            self.asked = False
        elif kind == STOPPING or (entry.get("SYSLOG_IDENTIFIER"), message) == (TAG, ENDING):
            self.asked = True
        elif kind == EXITED and "Main process exited" in message:
            yield from self._ended(entry)
        elif kind is None and (found := SAID.search(message)) and not (self.said and found["signal"]):
            yield from self.rest()
            self.said = [message]
        elif kind is None and self.said and len(self.said) < _STACK:
            self.said.append(message)

    def rest(self, status: str = "") -> Iterator[Crash]:
        """Yield the crash of which something was said, if there is one."""
        if self.said:
            said, self.said = self.said, []
            found = SAID.search(said[0])
            if found and found["signal"]:
                yield from self._signalled(found["signal"], said)
            else:
                yield self._crash("panic" if found and found["panic"] else "assertion", status, said)

    def _signalled(self, name: str, said: list[str]) -> Iterator[Crash]:
        number = str(signal.Signals[name].value) if name in signal.Signals.__members__ else name
        if not any(SENT.match(line) for line in said):
            yield self._crash("signal", number, said)
        elif not self.asked:
            yield self._crash("killed", number, said)

    def _ended(self, entry: dict[str, str]) -> Iterator[Crash]:
        code, status, message = entry.get("EXIT_CODE"), entry.get("EXIT_STATUS", ""), entry["MESSAGE"]
        if code == "exited" and status.isdigit() and int(status) > _BY_SIGNAL:
            # The script that a snap's unit runs ends like its child, the server.
            code, status = "killed", str(int(status) - _BY_SIGNAL)
        if self.said:
            yield from self.rest(status)
        elif code != "exited" and status in OWN_SIGNALS:
            yield self._crash("signal", status, [message])
        elif not self.asked and (code != "exited" or status != "0"):
            yield self._crash("exit" if code == "exited" else "killed", status, [message])

    def _crash(self, kind: Kind, status: str, lines: list[str]) -> Crash:
        shape = "\n".join(_VARIES.sub("", line).strip() for line in lines)
        digest = hashlib.sha256(f"{kind} {shape}".encode()).hexdigest()[:12]
        return Crash(self.member, self.build, kind, status, tuple(lines[:_SHOWN]), digest)


def _entries(lines: Iterable[str]) -> Iterator[dict[str, str]]:
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        # A message that is no text is a list of bytes.
        if isinstance(entry, dict) and isinstance(entry.get("MESSAGE"), str):
            yield entry

