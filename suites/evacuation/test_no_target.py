"""A member can be evacuated when no other one can take its instances (lxc/incus#3767).

The fix for clusters of one (lxc/incus#2986) counts members. In a cluster of two whose other member is
evacuated, too, there is also nobody to take an instance: evacuating still stopped it, then failed, and
left it down. Since the second fix it is stopped in place.

That the product says that it could not find a member, and that it then is not Evacuated, proves that it
is this failure. With the other member online the instance moves there.
"""

import pytest

from clusterproof.fixtures import TINY_IMAGE, ApiError, Cluster, SymptomWatch

pytestmark = [pytest.mark.documents("incus-3767"), pytest.mark.members(2)]


def launch(cluster: Cluster) -> None:
    """A container c1 runs on the first of two members."""
    first = cluster.members[0]
    first.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    first.client("launch", "tiny", "c1", "--target", first.name)
    assert cluster.client().get("instances/c1")["status"] == "Running"


def check_evacuated(cluster: Cluster, expected: dict[str, str]) -> None:
    """Evacuate the first member: it is Evacuated, and c1 is where and how it is expected."""
    first, said = cluster.members[0], ""
    try:
        cluster.evacuate(first)
    except ApiError as error:
        said = str(error)
    found = cluster.client().get("instances/c1")
    assert cluster.statuses()[first.name] == "Evacuated", f"c1 is {found['status']}; {said}"
    assert {key: found[key] for key in expected} == expected


def test_others_evacuated(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The second of two members is evacuated, then the first."""
    first, second = cluster.members
    launch(cluster)
    cluster.evacuate(second)
    assert cluster.statuses() == {first.name: "Online", second.name: "Evacuated"}
    with symptom("the last member is evacuated, its container stopped"):
        check_evacuated(cluster, {"location": first.name, "status": "Stopped"})


@pytest.mark.role("control")
def test_other_online(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The first of two members is evacuated; the second takes its container."""
    launch(cluster)
    with symptom("the member is evacuated, its container moved"):
        check_evacuated(cluster, {"location": cluster.members[1].name, "status": "Running"})
