"""The only member of a cluster can be evacuated (lxc/incus#2986).

Evacuating stopped the container and only then looked for a member to move it to. On a cluster of one
there is none, so the request failed: the container stayed down, and the member, back in its old state,
could not be restored either. Since the fix the instances of an only member are just stopped.

That the product says that it could not find a member, and that it then is not Evacuated, proves that it
is this failure. With ``cluster.evacuate=stop`` on the instance no other member is looked for.
"""

import pytest

from clusterproof.fixtures import TINY_IMAGE, ApiError, Cluster, Member, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("incus-2986"), pytest.mark.members(1)]


def launch(cluster: Cluster) -> Member:
    """A container c1 runs on the only member."""
    member = cluster.members[0]
    member.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    member.client("launch", "tiny", "c1")
    assert cluster.client().get("instances/c1")["status"] == "Running"
    return member


def check_there_and_back(cluster: Cluster, member: Member) -> None:
    """The member is evacuated, its container stopped; restored, both are as before."""
    said = ""
    try:
        cluster.evacuate(member)
    except ApiError as error:
        said = str(error)
    now = cluster.client().get("instances/c1")["status"]
    assert cluster.statuses()[member.name] == "Evacuated", f"c1 is {now}; {said}"
    assert now == "Stopped"
    cluster.restore(member)
    assert cluster.statuses()[member.name] == "Online"
    eventually(
        lambda: cluster.client().get("instances/c1")["status"],
        lambda status: status == "Running",
        what="c1 runs again",
    )


def test_evacuate(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The only member is evacuated and restored."""
    member = launch(cluster)
    with symptom("the only member is evacuated and comes back with its container"):
        check_there_and_back(cluster, member)


@pytest.mark.role("workaround")
def test_evacuate_by_stopping(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The instance says that it is to be stopped, so no other member is looked for."""
    member = launch(cluster)
    member.client("config", "set", "c1", "cluster.evacuate=stop")
    with symptom("the only member is evacuated and comes back with its container"):
        check_there_and_back(cluster, member)
