"""The lab watch: what troubled a cluster's members from outside while its cell ran.

Most of these troubles are over and leave no trace by the time that somebody asks: a daemon that was stopped by a
signal goes on, a network carries packets again, a pool that was full has room. What a product did meanwhile is
no statement about it, whether it failed or looked fine. So members are looked at all the time.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Sequence

from clusterproof.lab.cluster.member import Member
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.host import ROOM, Host

# Seconds between two looks.
EVERY = 0.5
# No service listens there, so that the member's kernel refuses at once, however busy its processes are (RFC
# 9293, section 3.10.7.1). A lost packet is sent again after one second (RFC 6298), which is not waited for.
PORT = 1
AT_ONCE = 4
ANSWERED = 0.9
ANSWERS = (0, errno.ECONNREFUSED)
# How many of a member's refusals may be missing within so many seconds.
LOST, WITHIN = 1, 10.0


class LabWatch:
    """Watches ``members``, as far as this computer can see them, between ``start`` and ``stop``.

    ``seen`` is the first trouble, in one clause; empty where there was none.
    """

    def __init__(self, host: Host, members: Sequence[Member], transcript: Transcript) -> None:
        self.seen = ""
        self._host = host
        self._members = members
        self._transcript = transcript
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        # By member: its first process when it first refused everything, and when refusals were missing later.
        self._reached: dict[str, int] = {}
        self._missing: dict[str, deque[float]] = {}

    def start(self) -> None:
        """Begin to watch; does nothing where that was begun."""
        if self._thread is None:
            self._thread = threading.Thread(
                target=_run, args=(weakref.ref(self), self._ended), name="lab-watch", daemon=True
            )
            self._thread.start()

    def stop(self) -> None:
        """Watch no longer."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()

    def look(self) -> str:
        """Look once; return what troubles a member or the lab at this moment."""
        free = self._host.free()
        if free is not None and free < ROOM:
            return f"the lab's pool was full: {free >> 20} MiB were free"
        running = [(member, found) for member in list(self._members) if (found := member.machine.watched())]
        for member, found in running:
            if stopped := found.stopped():
                return f"{stopped} of member {member.name} was stopped by a signal from outside"
        missing = unanswered([found.address for _, found in running])
        for member, found in running:
            # One that ends or is stopped while it is asked does not answer, and has not lost anything.
            still = member.machine.watched() == found
            if still and self._lost(member.name, found.pid, missing[found.address]):
                return f"the network of member {member.name} lost packets"
        return ""

    def note(self) -> bool:
        """Look once, and keep what is seen; say whether something was."""
        self.seen = self.look()
        if self.seen:
            self._transcript.note("lab", "host", "the lab was not sound", reason=self.seen)
        return bool(self.seen)

    def _lost(self, name: str, pid: int, missing: int) -> bool:
        """Take how many refusals of a member are missing; say whether its network loses packets."""
        if self._reached.get(name) != pid:
            # While it boots it has no address.
            if not missing:
                self._reached[name] = pid
                self._missing[name] = deque()
            return False
        now = time.monotonic()
        times = self._missing[name]
        times.extend([now] * missing)
        while times and times[0] < now - WITHIN:
            times.popleft()
        return len(times) > LOST


def _run(reference: weakref.ref[LabWatch], ended: threading.Event) -> None:
    """Look again and again, until something is seen, it ``ended``, or nobody has the watch any more."""
    while not ended.wait(EVERY):
        watch = reference()
        if watch is None or watch.note():
            return
        # Not kept while this waits.
        del watch


def unanswered(addresses: Sequence[str], port: int = PORT) -> dict[str, int]:
    """Return how many of AT_ONCE connections to each address got no answer in time, a refusal being one."""
    missing = dict.fromkeys(addresses, AT_ONCE)
    waiting: dict[int, tuple[str, socket.socket]] = {}
    poll = select.poll()
    with contextlib.ExitStack() as asked:
        for address in missing:
            for _ in range(AT_ONCE):
                asking = asked.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
                asking.setblocking(False)
                if asking.connect_ex((address, port)) in (*ANSWERS, errno.EINPROGRESS):
                    waiting[asking.fileno()] = address, asking
                    poll.register(asking, select.POLLOUT)
        until = time.monotonic() + ANSWERED
        left = ANSWERED
        while waiting and left > 0:
            left = until - time.monotonic()
            # Asked once more when the time is over: a thread that got no processor misses no answer.
            for number, _ in poll.poll(max(left, 0) * 1000):
                poll.unregister(number)
                address, asking = waiting.pop(number)
                missing[address] -= asking.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERS
    return missing
