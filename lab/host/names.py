"""The names of what the lab makes on its host: a project, and a storage pool and a bridge that it alone uses.

The name of a member's instance says which lab, run and process made it. The kernel's objects that go with it,
such as its cgroup, have that name too: they can be found when the server knows nothing of them any more.
"""

from __future__ import annotations

import base64
import hashlib
import re

from clusterproof.lab.core import runs

PROJECT = "clusterproof"
POOL = "clusterproof"
NETWORK = "clusterproof0"
# The configuration key that marks them as the lab's; it also begins the keys of a run's id and owner.
MARK = "user.clusterproof"

# The most characters that the name of an interface may have.
_INTERFACE = 15
_INSTANCE = re.compile(r"cp-(?P<lab>[0-9a-f]{4})-(?P<run>[^-]{1,4})-(?P<process>[0-9a-f]+)-.+")


def prefix(run: runs.Run) -> str:
    """Return what the names of instances begin with that this process makes for ``run``, without a dash."""
    return f"cp-{runs.tag()}-{run.id[-4:]}-{run.number():x}"


def interface(instance: str) -> str:
    """Return the name that the host's end of the network interface of ``instance`` has."""
    found = _INSTANCE.fullmatch(instance)
    start = f"cp{found['lab']}{found['run']}" if found else "cp"
    digest = base64.b32encode(hashlib.sha256(instance.encode()).digest()).decode().lower()
    return f"{start}{digest}"[:_INTERFACE]


def process_of(instance: str) -> int | None:
    """Return the id of the process that made ``instance``, None where its name is none of this lab's."""
    found = _INSTANCE.fullmatch(instance)
    return int(found["process"], 16) if found and found["lab"] == runs.tag() else None


def run_of(name: str) -> str | None:
    """Return the end of the id of the run that made an instance or interface, None as in ``process_of``."""
    if found := _INSTANCE.fullmatch(name):
        return found["run"] if found["lab"] == runs.tag() else None
    start = f"cp{runs.tag()}"
    return name[len(start) : len(start) + 4] if name.startswith(start) and len(name) == _INTERFACE else None
