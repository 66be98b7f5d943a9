"""An evacuation must not bring instances where their project may not be (canonical/lxd#14320).

A project with ``restricted.cluster.groups`` may use the members of those groups only, to which others were
meant to be closed: by contract, by licence, or because of their hardware. An evacuation moved the project's
instances to any member.

That the project refuses to create an instance on the second member, and that an evacuation brings one
there, proves the bug.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-14320"), pytest.mark.members(2)]

CONFIG = {
    "restricted": "true",
    "restricted.cluster.groups": "g1",
    "features.images": "false",
}
IN_PROJECT = ("--project", "p1", "--storage", "local")


def make_project(cluster: Cluster) -> None:
    """c1, stopped, is on the first member, in a project that is restricted to that member."""
    first, second = cluster.members
    cluster.client().post("cluster/groups", {"name": "g1", "members": [first.name]})
    cluster.client().post("projects", {"name": "p1", "config": CONFIG})
    refusal = refused(first.init, "c2", *IN_PROJECT, "--target", second.name)
    assert refusal, f"p1 lets an instance be created on {second.name}"
    first.init("c1", *IN_PROJECT, "--target", first.name)


def location(cluster: Cluster) -> str:
    """Return the member on which c1 is."""
    found: str = cluster.client().get("instances/c1", project="p1")["location"]
    return found


def test_evacuate(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The only member that the project may use is evacuated."""
    make_project(cluster)
    first, second = cluster.members
    assert location(cluster) == first.name
    with symptom("the instance stays on the member that its project may use"):
        refusal = refused(cluster.evacuate, first)
        if (there := location(cluster)) == second.name:
            raise Shown("instance evacuated to where its project may not be", location=there)
        assert there == first.name, refusal
