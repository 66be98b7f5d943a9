"""The snapshots of a volume on another member must be listed (canonical/lxd#15480).

Requests about a volume go to the member on which it lies. The list of its snapshots was left out: asked of
another member, it was empty, without an error, also with the volume's member as ``target``. A program that
takes stock of backups through one member finds none.

That the volume's own member lists the snapshot, and the other one an empty list, proves the bug.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-15480"), pytest.mark.members(2)]

VOLUMES = "storage-pools/local/volumes/custom"


def snapshots(cluster: Cluster, asked: Member) -> list[str]:
    """Return the paths of the snapshots of v1 that ``asked`` lists."""
    target = cluster.members[1].name
    found: list[str] = cluster.client(asked).get(f"{VOLUMES}/v1/snapshots", target=target)
    return found


def test_list(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The first member is asked for the snapshots of a volume on the second."""
    first, second = cluster.members
    cluster.client().post(VOLUMES, {"name": "v1", "type": "custom"}, target=second.name)
    cluster.client().post(f"{VOLUMES}/v1/snapshots", {"name": "s1"}, target=second.name)
    own = snapshots(cluster, second)
    assert len(own) == 1, own
    with symptom("both members list the snapshot"):
        if not (seen := snapshots(cluster, first)):
            raise Shown("snapshots on another member not listed", there=own, seen=seen)
        assert len(seen) == 1, seen
