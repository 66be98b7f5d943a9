"""A cluster group that a project is restricted to must not be renamed away (lxc/incus#1147).

A project lists in ``restricted.cluster.groups`` the groups on which its instances may run. Renaming a group
ignored that: the project still named a group that no longer existed, and its next launch failed with just
"No suitable cluster member could be found". Since the fix a group in use is not renamed.

Whether a build refuses or follows the rename, the groups a project is restricted to have to exist; that one
does not after a rename proves the bug. A group that nothing uses can still be renamed.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused

pytestmark = [
    pytest.mark.documents("incus-1147"),
    pytest.mark.members(1),
    pytest.mark.applies_to("extension:clustering_groups"),
]


def groups(cluster: Cluster) -> list[str]:
    """Return the names of all cluster groups."""
    return [group["name"] for group in cluster.client().get("cluster/groups", recursion=1)]


def make_group(cluster: Cluster) -> None:
    """There is a group g1, and the only member is in it."""
    body = {"name": "g1", "description": "", "members": [cluster.members[0].name]}
    cluster.client().post("cluster/groups", body)
    assert "g1" in groups(cluster)


def restrict_project(cluster: Cluster) -> None:
    """There is a project p1 whose instances may run on members of g1 only."""
    config = {"features.images": "false", "restricted": "true", "restricted.cluster.groups": "g1"}
    cluster.client().post("projects", {"name": "p1", "description": "", "config": config})


def test_group_of_a_project(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A group is renamed that a project is restricted to."""
    make_group(cluster)
    restrict_project(cluster)
    refusal = refused(cluster.client().post, "cluster/groups/g1", {"name": "g2"})
    with symptom("the group that the project is restricted to exists"):
        named = cluster.client().get("projects/p1")["config"]["restricted.cluster.groups"]
        there = groups(cluster)
        if named not in there:
            raise Shown("project restricted to a group that does not exist", restricted_to=named, groups=there)
    assert refusal is None or "currently in use" in str(refusal)


@pytest.mark.role("control")
def test_group_of_nobody(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A group is renamed that nothing refers to."""
    make_group(cluster)
    cluster.client().post("cluster/groups/g1", {"name": "g2"})
    with symptom("the group has its new name"):
        assert sorted(groups(cluster)) == ["default", "g2"]
