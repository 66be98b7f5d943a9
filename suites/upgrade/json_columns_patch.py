"""The patch "db_json_columns" of Incus, and a daemon that has to apply it while the database is written to."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

from clusterproof import Member, eventually

PATCH = "db_json_columns"
# How often a daemon is started again at most: one start may meet a heartbeat by chance, three do not.
AGAIN = 3
# In the journal; the log file has it as well.
LAST_ERROR = re.compile(r'(?<=\]: ).*Failed to start the daemon" err=.*')
# Each write is a transaction of its own. After every 200 is a pause: a write that waits for its turn is given
# up after 26 s.
PAUSE = 0.1
STOP = "/root/no-more-writes"
# Seconds for what is no promise of the product: a busy computer takes its time for a start, or for 200 writes.
PATIENCE = 180
WRITES = "UPDATE config SET value = value + 1 WHERE key = 'user.count';" * 200


@contextmanager
def in_use(member: Member) -> Iterator[None]:
    """The cluster is in use: ``member`` keeps writing to the database, until the last write has its answer."""
    member.write("/root/writes.json", json.dumps({"database": "global", "query": WRITES}))
    write = f"curl --silent --unix-socket {member.facts.socket} --data @/root/writes.json"
    loop = f"until [ -e {STOP} ]; do {write} http://daemon/internal/sql; sleep {PAUSE}; done >/dev/null"
    member.run(["rm", "-f", STOP], check=True)
    member.run(["systemd-run", "--quiet", "--unit=in-use", "sh", "-c", loop], check=True)
    try:
        eventually(lambda: written(member), within=PATIENCE, what=f"{member.name} writes")
        yield
    finally:
        # A daemon goes on with a write whose client has gone: it is the answer that ends the use.
        member.run(["touch", STOP], check=True)
        eventually(
            lambda: not member.run(["systemctl", "is-active", "--quiet", "in-use"]).ok,
            within=PATIENCE,
            what=f"{member.name} has no write under way",
        )


def written(member: Member) -> int:
    """Return how many rows have been written."""
    shown = member.sql("global", "SELECT value FROM config WHERE key = 'user.count'")
    return int("".join(re.findall(r"\d", shown)))


def knows_patch(member: Member) -> bool:
    """Whether the build of ``member`` has the patch: a new member has recorded all patches of its build."""
    return PATCH in member.sql("local", "SELECT name FROM patches")


def forget_patch(member: Member) -> None:
    """Put ``member`` where it is after the upgrade to the first version that has the patch."""
    member.sql("local", f"DELETE FROM patches WHERE name = '{PATCH}'")


def restart(member: Member) -> str:
    """Restart the daemon of ``member``; return its error where it gives up, nothing where it gets ready."""
    before = errors(member)
    member.daemon.restart()
    eventually(
        lambda: member.daemon.is_ready() or len(errors(member)) > len(before),
        within=PATIENCE,
        what=f"{member.name} is ready or gives up",
    )
    now = errors(member)
    return now[-1] if len(now) > len(before) else ""


def errors(member: Member) -> list[str]:
    """Return the errors with which the daemon of ``member`` has given up so far."""
    return LAST_ERROR.findall(member.daemon.log())


def start_again(member: Member) -> None:
    """Restart the daemon of ``member`` where nobody uses the cluster.

    Members still write their heartbeats every ten seconds. A start that meets one of these ends for the same
    reason, and is repeated as an operator would.
    """
    for _ in range(AGAIN):
        error = restart(member)
        if "database is locked" not in error:
            break
    assert not error, f"the daemon of {member.name} gave up: {error}"


def check_starts(member: Member) -> None:
    """The daemon of ``member`` does not give up."""
    error = restart(member)
    assert not error, f"the daemon of {member.name} gave up: {error}"
