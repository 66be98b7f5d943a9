"""An instance must not be moved past the limits of a project (GHSA-5g5r-wh97-qcq2, canonical/lxd#18605).

A project may limit how many instances it has, and restrict their configuration. Both are checked where an
instance is created in the project, but were not where one was moved into it from another project.

That the project refuses to create another instance, and has one more than its limit after the move, proves the
bug.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-18605"), pytest.mark.members(1)]

CONFIG = {"limits.instances": "1", "features.images": "false", "features.profiles": "false"}
FULL = "maximum number of instances"


def make_project(cluster: Cluster) -> Member:
    """The project p1 has c2, and no room for another instance; return the only member."""
    cluster.client().post("projects", {"name": "p1", "config": CONFIG})
    member = cluster.members[0]
    member.init("c2", "--project", "p1")
    # Without a target LXD does not look (lxd-17818).
    refusal = refused(member.init, "c3", "--project", "p1", "--target", member.name)
    assert FULL in str(refusal), refusal
    return member


def names(cluster: Cluster, project: str) -> set[str]:
    """Return the names of the instances of ``project``."""
    return {one["name"] for one in cluster.client().get("instances", recursion=1, project=project)}


def test_move(cluster: Cluster, symptom: SymptomWatch) -> None:
    """An instance is moved into a project that has no room for it."""
    member = make_project(cluster)
    member.init("c1")
    with symptom("the instance stays in its project"):
        refusal = refused(member.client, "move", "c1", "c1", "--target-project", "p1")
        if len(moved := names(cluster, "p1")) > 1:
            raise Shown("instance moved into a full project", names=moved, limit=1)
        assert names(cluster, "default") == {"c1"}
        assert FULL in str(refusal), refusal
