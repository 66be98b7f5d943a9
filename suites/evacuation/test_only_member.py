"""The only member of a cluster can be evacuated (lxc/incus#2986).

Evacuating stopped the container and only then looked for a member to move it to. On a cluster of one
there is none, so the request failed: the container stayed down, and the member, back in its old state,
could not be restored either. Since the fix the instances of an only member are just stopped.

That the product reports that it could not find a member, and that it then is not Evacuated, proves that it
is this failure. With ``cluster.evacuate=stop`` on the instance no other member is looked for.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch, refused

pytestmark = [
    pytest.mark.documents("incus-2986"),
    pytest.mark.members(1),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]


def launch(cluster: Cluster) -> Member:
    """A container c1 runs on the only member."""
    member = cluster.members[0]
    member.launch("c1")
    assert cluster.instance("c1").status == "Running"
    return member


def check_there_and_back(cluster: Cluster, member: Member) -> None:
    """The member is evacuated, its container stopped; restored, both are as before."""
    refusal = refused(cluster.evacuate, member)
    assert cluster.instance("c1").status == "Stopped"
    assert cluster.status_of(member) == "Evacuated", refusal
    cluster.restore(member)
    assert cluster.status_of(member) == "Online"
    cluster.wait_running("c1")


def test_evacuate(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The only member is evacuated and restored."""
    member = launch(cluster)
    with symptom("the only member is evacuated and comes back with its container"):
        check_there_and_back(cluster, member)


@pytest.mark.role("workaround")
def test_evacuate_by_stopping(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The instance is configured to be stopped, so no other member is looked for."""
    member = launch(cluster)
    member.client("config", "set", "c1", "cluster.evacuate=stop")
    with symptom("the only member is evacuated and comes back with its container"):
        check_there_and_back(cluster, member)
