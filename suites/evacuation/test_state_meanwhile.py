"""A member must not be called Evacuated before it is (canonical/lxd#17013, lxc/incus#2967).

The state of a member was changed first, and its instances were stopped or moved after that. Whoever waited
for Evacuated before switching the machine off switched off running instances; whoever restored it meanwhile
took the record of where they came from (canonical/lxd#15877). Incus 6.22 has a state of its own for the
time between.

A container that does not stop keeps the evacuation from ending. That the member is Evacuated while the
container runs proves the bug: the member is asked first, so that an evacuation that has just ended is not
taken for it.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, eventually
from clusterproof.suites.evacuation.unfinished import begin_evacuation, left_online, signal_c1

pytestmark = [pytest.mark.documents("lxd-17013"), pytest.mark.members(1)]


def test_container_runs(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member is being evacuated while its container does not stop."""
    member = begin_evacuation(cluster)
    with symptom("the member is Evacuated when its container is stopped, and not before"):
        status = left_online(cluster, member)
        container = cluster.instance("c1").status
        if (status, container) == ("Evacuated", "Running"):
            raise Shown("Evacuated with a running container", member=status, container=container)
        assert (status, container) == ("Evacuating", "Running")
        signal_c1(member, "CONT")
        eventually(lambda: cluster.statuses()[member.name], lambda seen: seen == "Evacuated", within=120)
        assert cluster.instance("c1").status == "Stopped"
