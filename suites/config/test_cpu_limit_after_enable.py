"""``limits.cpu`` is applied on a server that has just become a cluster (canonical/lxd#11899).

The daemon's scheduler kept the server state it was given at start, in which the server's name was still
"none". After ``cluster enable`` (or a join) it looked for instances of that name, found none, and left
every container on all CPUs until the daemon was restarted.

That the container may use as many CPUs as its host, although its limit is one, is the symptom; that the
same limit holds after a restart of the daemon proves that it is this cause. It takes a member with two CPUs
and the cpuset controller: without it no build applies the limit, and none reports that.
"""

import pytest

from clusterproof import Cluster, Member, NotObservedError, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("lxd-11899"), pytest.mark.members(1)]


def enable(unjoined: Cluster) -> Member:
    """A standalone server becomes a cluster; its daemon is not restarted."""
    member = unjoined.members[0]
    unjoined.set_up(member)
    before = member.daemon.pid()
    member.client("cluster", "enable", member.name)
    assert member.daemon.pid() == before
    return member


def cpus(member: Member) -> int:
    """Return how many CPUs the container c1 may use."""
    found = member.client("exec", "c1", "--", "nproc").stdout
    assert found, "nproc printed nothing"
    return int(found)


def check_limit(member: Member) -> None:
    """A container with ``limits.cpu=1`` gets one CPU."""
    member.launch("c1", "--config", "limits.cpu=1")
    try:
        eventually(lambda: cpus(member), lambda seen: seen == 1, within=30, what="CPUs of c1 limited to 1")
    except NotObservedError as late:
        if late.last is None:
            raise
        raise Shown("limits.cpu not applied", limit=1, cpus=late.last) from late


def test_launch_after_enable(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A container is launched after the server became a cluster."""
    member = enable(unjoined)
    with symptom("the container is limited to one CPU"):
        check_limit(member)


@pytest.mark.role("workaround")
def test_launch_after_restart(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The daemon is restarted after the server became a cluster."""
    member = enable(unjoined)
    member.daemon.restart(wait=True)
    with symptom("the container is limited to one CPU"):
        check_limit(member)
