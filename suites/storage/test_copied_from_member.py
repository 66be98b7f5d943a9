"""A volume on another member can be copied to the member that is asked (lxc/incus#2195).

The source of a copy names the member on which the volume lies. That was only looked at where the request
also said with ``target`` on which member the copy is to be; without one the volume was looked for on the
member asked.

That the request with ``target`` works, and without it the same volume "is not found", proves the bug.
"""

import pytest

from clusterproof import Cluster, SymptomWatch

pytestmark = [
    pytest.mark.documents("incus-2195"),
    pytest.mark.members(2),
    pytest.mark.applies_to("extension:cluster_internal_custom_volume_copy"),
]

VOLUMES = "storage-pools/local/volumes/custom"


def copy_of_v1(cluster: Cluster) -> dict[str, object]:
    """Return what is asked for: v2, a copy of the volume v1 of the second member."""
    source = {"type": "copy", "name": "v1", "pool": "local", "location": cluster.members[1].name}
    return {"name": "v2", "type": "custom", "source": source}


def make_volume(cluster: Cluster) -> None:
    """The volume v1 is on the second member."""
    second = cluster.members[1]
    cluster.client().post(VOLUMES, {"name": "v1", "type": "custom"}, target=second.name)
    assert cluster.client().get(f"{VOLUMES}/v1", target=second.name)["location"] == second.name


def check_copied(cluster: Cluster) -> None:
    """The copy is on the first member."""
    first = cluster.members[0]
    assert cluster.client().get(f"{VOLUMES}/v2", target=first.name)["location"] == first.name


def test_copy(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The volume is copied to the member that is asked."""
    make_volume(cluster)
    with symptom("the volume is copied"):
        cluster.client().post(VOLUMES, copy_of_v1(cluster))
        check_copied(cluster)


@pytest.mark.role("workaround")
def test_copy_to_target(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The request also names the member on which the copy is to be."""
    make_volume(cluster)
    with symptom("the volume is copied"):
        cluster.client().post(VOLUMES, copy_of_v1(cluster), target=cluster.members[0].name)
        check_copied(cluster)
