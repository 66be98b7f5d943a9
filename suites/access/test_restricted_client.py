"""A client restricted to a project must not create cluster groups (canonical/lxd#11648).

Creating a group was open to every authenticated client, while reading, changing and deleting one took an
administrator: a certificate restricted to one project could fill a cluster with groups that its owner could
not even remove.

The server reports the client as trusted and lists it as restricted, and an administrator then finds the
group that it created: together they prove the bug. The same request of an unrestricted client must succeed.
"""

import pytest

from clusterproof import Api, ApiError, Cluster, Shown, SymptomWatch, refused

pytestmark = [
    pytest.mark.documents("lxd-11648"),
    pytest.mark.members(1),
    pytest.mark.applies_to("extension:clustering_groups"),
]

GROUP = {"name": "mine", "description": "", "members": []}
FORBIDDEN = 403


def restricted_client(cluster: Cluster) -> Api:
    """A client that may use the project default and nothing of the cluster."""
    restricted = cluster.restricted_client("default")
    assert restricted.get("")["auth"] == "trusted"
    assert restricted.get("projects") == ["/1.0/projects/default"]
    known = cluster.client().get("certificates", recursion=1)
    assert [entry["projects"] for entry in known if entry["restricted"]] == [["default"]]
    return restricted


def groups(cluster: Cluster) -> list[str]:
    """Return the names of all cluster groups, as an administrator sees them."""
    return [group["name"] for group in cluster.client().get("cluster/groups", recursion=1)]


def test_create_group(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A restricted client asks for a new cluster group."""
    restricted = restricted_client(cluster)
    refusal = refused(restricted.post, "cluster/groups", GROUP)
    with symptom("a restricted client is refused and creates no group"):
        if "mine" in (there := groups(cluster)):
            raise Shown("group made by a restricted client", groups=there, answer=refusal)
        assert isinstance(refusal, ApiError)
        assert refusal.status == FORBIDDEN


@pytest.mark.role("control")
def test_create_group_as_administrator(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A client without restrictions asks for a new cluster group."""
    cluster.client().post("cluster/groups", GROUP)
    with symptom("an administrator creates a group"):
        assert "mine" in groups(cluster)
