"""A member can be evacuated when no other one can take its instances (lxc/incus#3767).

The fix for clusters of one (lxc/incus#2986) counts members. In a cluster of two whose other member is
evacuated, too, there is also no member to take an instance: evacuating still stopped it, then failed, and
left it down. Since the second fix it is stopped in place.

That the product reports that it could not find a member, and that it then is not Evacuated, proves that it
is this failure. With the other member online the instance moves there.
"""

import pytest

from clusterproof import Cluster, Instance, SymptomWatch, refused

pytestmark = [
    pytest.mark.documents("incus-3767"),
    pytest.mark.members(2),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]


def launch(cluster: Cluster) -> None:
    """A container c1 runs on the first of two members."""
    first = cluster.members[0]
    first.launch("c1", "--target", first.name)
    assert cluster.instance("c1").status == "Running"


def check_evacuated(cluster: Cluster, expected: Instance) -> None:
    """Evacuate the first member: it is Evacuated, and c1 is where and in which status it is expected."""
    first = cluster.members[0]
    refusal = refused(cluster.evacuate, first)
    assert cluster.instance("c1") == expected
    assert cluster.status_of(first) == "Evacuated", refusal


def test_others_evacuated(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The second of two members is evacuated, then the first."""
    first, second = cluster.members
    launch(cluster)
    cluster.evacuate(second)
    assert (cluster.status_of(first), cluster.status_of(second)) == ("Online", "Evacuated")
    with symptom("the last member is evacuated, its container stopped"):
        check_evacuated(cluster, Instance(first.name, "Stopped"))


@pytest.mark.role("control")
def test_other_online(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The first of two members is evacuated; the second takes its container."""
    launch(cluster)
    with symptom("the member is evacuated, its container moved"):
        check_evacuated(cluster, Instance(cluster.members[1].name, "Running"))
