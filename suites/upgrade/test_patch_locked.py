"""A member that has a patch to apply must start while another one writes.

Upstream has no report of it: docs/findings/incus-upgrade-patch-locked.md.

When a member first starts with a version that has the patch ``db_json_columns``, it changes tables of the
cluster's database, outside of a transaction that would be tried again. Everything else that a starting
daemon writes waits for its turn; where the patch meets another member's write, the daemon ends.

In an upgrade the other writes are those of members that start at the same moment, so that it is seen about
every second time (test_rolling_upgrade.py). Here somebody uses the cluster meanwhile: one row is written
after the other. As the builds of the catalogue offer no upgrade in which the other members can be used,
the member is put where it would be after one: its own record that the patch was applied is taken away.
That the daemon says of this patch that the database is locked proves that it is this and no other failure.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clusterproof.fixtures import Cluster, Member, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("incus-patch-locked"), pytest.mark.members(2)]

PATCH = "db_json_columns"
# In the journal, not in the log file, which has it, too.
GIVES_UP = re.compile(r'(?<=\]: ).*Failed to start the daemon" err=.*')
# The patch comes between two writes in four starts out of ten, here and there in more.
STARTS = 30
# Each write is a transaction of its own. After every 200 is a pause: what waits for its turn, and is
# given up after 26 s, must have one.
PAUSE = 0.1
WRITES = "UPDATE config SET value = value + 1 WHERE key = 'user.count';" * 200


@contextmanager
def in_use(member: Member) -> Iterator[None]:
    """Somebody uses the cluster: all the while ``member`` writes to the database."""
    member.write("/root/writes.json", json.dumps({"database": "global", "query": WRITES}))
    write = f"curl --silent --unix-socket {member.facts.socket} --data @/root/writes.json"
    loop = f"while :; do {write} http://daemon/internal/sql; sleep {PAUSE}; done >/dev/null"
    member.run(["systemd-run", "--quiet", "--unit=in-use", "sh", "-c", loop], check=True)
    try:
        eventually(lambda: written(member), what=f"{member.name} writes")
        yield
    finally:
        member.run(["systemctl", "stop", "in-use"], check=True)


def written(member: Member) -> int:
    """How many rows have been written."""
    shown = member.sql("global", "SELECT value FROM config WHERE key = 'user.count'")
    return int("".join(re.findall(r"\d", shown)))


def make_cluster(members: Cluster) -> tuple[Member, Member]:
    """A cluster of two; return the member that is used and the one that will be started."""
    members.form()
    members.client().patch("", {"config": {"user.count": "0"}})
    used, starting = members.members
    return used, starting


def knows_patch(member: Member) -> bool:
    """Whether the build of ``member`` has the patch: a new member has all of its build."""
    return PATCH in member.sql("local", "SELECT name FROM patches")


def forget_patch(member: Member) -> None:
    """As after the upgrade to the first version that has the patch."""
    member.sql("local", f"DELETE FROM patches WHERE name = '{PATCH}'")


def restart(member: Member) -> str:
    """Restart the daemon of ``member`` until it is ready, or return what it says when it gives up."""
    before = said(member)
    member.daemon.restart()
    eventually(
        lambda: member.daemon.is_ready() or len(said(member)) > len(before),
        within=60,
        what=f"{member.name} is ready or gives up",
    )
    return "" if len(said(member)) == len(before) else said(member)[-1]


def said(member: Member) -> list[str]:
    """All that the daemon of ``member`` has said so far when it gave up."""
    return GIVES_UP.findall(member.daemon.log())


def check_starts(member: Member) -> None:
    """The daemon of ``member`` does not give up."""
    words = restart(member)
    assert not words, f"the daemon of {member.name} gave up: {words}"


def test_other_member_used(members: Cluster, symptom: SymptomWatch) -> None:
    """A member starts with the patch to apply while another one is used."""
    used, starting = make_cluster(members)
    starts = STARTS if knows_patch(starting) else 1
    with in_use(used):
        for _ in range(starts):
            forget_patch(starting)
            with symptom("the member starts"):
                check_starts(starting)


@pytest.mark.role("control")
def test_nothing_to_apply(members: Cluster, symptom: SymptomWatch) -> None:
    """A member that has applied the patch before starts while another one is used."""
    used, starting = make_cluster(members)
    with in_use(used), symptom("the member starts"):
        check_starts(starting)


@pytest.mark.role("workaround")
def test_started_again(members: Cluster, symptom: SymptomWatch) -> None:
    """A daemon that has given up is started again when nobody uses the cluster."""
    used, starting = make_cluster(members)
    known = knows_patch(starting)
    forget_patch(starting)
    with in_use(used):
        words = restart(starting)
    assert not words or PATCH in words, words
    with symptom("the member starts"):
        check_starts(starting)
        members.wait_online()
    assert knows_patch(starting) == known
