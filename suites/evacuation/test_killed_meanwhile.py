"""A daemon that is killed during an evacuation must not leave the member Evacuating for ever (lxc/incus#3929).

Since Incus 6.22 a member is Evacuating while it is being evacuated. That state is in the database, and
nothing ended it when the daemon that evacuated was killed: the member stayed Evacuating with nobody
evacuating it, took no new instances, and could not be evacuated again.

That the member is still Evacuating after its daemon is ready again, while no operation runs, proves the
bug.
"""

import pytest

from clusterproof import Cluster, Member, NotObservedError, Shown, SymptomWatch, eventually
from clusterproof.suites.evacuation.unfinished import begin_evacuation, left_online, signal_c1

pytestmark = [pytest.mark.documents("incus-3929"), pytest.mark.members(1)]

BETWEEN = ("Evacuating", "Restoring")


def kill_meanwhile(cluster: Cluster) -> Member:
    """The daemon is killed while its member is being evacuated, and is started again; c1 ends meanwhile."""
    member = begin_evacuation(cluster)
    left_online(cluster, member)
    member.daemon.kill()
    member.daemon.start(wait=True)
    signal_c1(member, "KILL")
    eventually(lambda: cluster.instance("c1").status, lambda status: status == "Stopped", within=60)
    return member


def check_settled(cluster: Cluster, member: Member) -> None:
    """The member is Online or Evacuated, or becomes so."""

    def status() -> str:
        return cluster.statuses()[member.name]

    try:
        eventually(status, lambda seen: seen not in BETWEEN, within=60, what="the member is Online or Evacuated")
    except NotObservedError as late:
        if late.last not in BETWEEN or (running := cluster.client().get("operations").get("running")):
            raise
        raise Shown("evacuating without an evacuation", status=late.last, operations=running) from late


def test_killed(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The daemon is killed while its member is being evacuated."""
    member = kill_meanwhile(cluster)
    with symptom("the member is Online or Evacuated after all"):
        check_settled(cluster, member)


@pytest.mark.role("workaround")
def test_restore(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The member is restored, although it was never Evacuated."""
    member = kill_meanwhile(cluster)
    if cluster.statuses()[member.name] in BETWEEN:
        cluster.restore(member)
    with symptom("the member is Online or Evacuated after all"):
        check_settled(cluster, member)
