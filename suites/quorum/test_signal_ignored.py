"""A daemon that waits for the other members must obey SIGTERM (canonical/lxd#15436).

A daemon that starts without a majority of the database's voters waits until there is one. It looked for
signals only after that: ``systemctl stop`` or a shutdown of the machine then takes until systemd's patience
ends and it kills the daemon. Both products' documentation promises a clean end on SIGTERM.

That the daemon says that it waits for the database, gets the signal, and still runs as the same process a
minute later, proves the bug. Once another voter is there it obeys, which proves that it had the signal.
"""

import pytest

from clusterproof import Cluster, Member, NotObservedError, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("lxd-15436")]

ENDED = 60.0
WAITS = "Failed connecting to global database"


def wait_for_majority(cluster: Cluster) -> tuple[Member, int]:
    """The first member's daemon waits for the others', which are dead; return it and its process id."""
    first, *others = cluster.members
    for member in (*others, first):
        member.daemon.kill()
    before = first.daemon.log().count(WAITS)
    first.daemon.start()
    eventually(lambda: first.daemon.log().count(WAITS) > before, within=120, what="the daemon waits")
    return first, first.daemon.pid()


def terminate(member: Member, pid: int) -> None:
    """Send SIGTERM to the daemon's process ``pid``; the main process of a snap's unit is a script."""
    member.run(f"kill -TERM {pid}", check=True)


def check_ended(member: Member, pid: int) -> None:
    """The process ``pid`` has ended."""
    try:
        eventually(member.daemon.pid, lambda seen: seen != pid, within=ENDED, what="the daemon has ended")
    except NotObservedError as late:
        if late.last != pid:
            raise
        raise Shown("waiting daemon ignores SIGTERM", pid=pid, waited=ENDED) from late


def test_terminate(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A daemon that waits for a majority gets SIGTERM."""
    member, pid = wait_for_majority(cluster)
    assert pid
    with symptom("the daemon ends"):
        terminate(member, pid)
        check_ended(member, pid)


@pytest.mark.role("workaround")
def test_another_voter_starts(cluster: Cluster, symptom: SymptomWatch) -> None:
    """Another voter is started, so that there is a majority again."""
    member, pid = wait_for_majority(cluster)
    assert pid
    terminate(member, pid)
    cluster.members[1].daemon.start()
    with symptom("the daemon ends"):
        check_ended(member, pid)
