"""A project's limits must be applied in a cluster, too (canonical/lxd#17818).

Without a target the cluster chooses the member for a new instance. Once it had chosen, LXD returned before it
looked at the limits and restrictions of the project, so that they applied only to requests that name a target.
The report is of 6.6 and 6.7; the same return is in older versions.

That the project has a limit of one instance, and two instances, proves the bug. With a target the same request
is refused, which proves that the limit is there.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-17818"), pytest.mark.members(1)]

CONFIG = {"limits.instances": "1", "features.images": "false", "features.profiles": "false"}


def fill_project(cluster: Cluster) -> None:
    """The project p1, which may have one instance, has c1."""
    cluster.client().post("projects", {"name": "p1", "config": CONFIG})
    cluster.members[0].init("c1", "--project", "p1")


def check_limit(cluster: Cluster, *options: str) -> None:
    """Another instance is refused."""
    refusal = refused(cluster.members[0].init, "c2", "--project", "p1", *options)
    there = {one["name"] for one in cluster.client().get("instances", recursion=1, project="p1")}
    if there == {"c1", "c2"}:
        raise Shown("more instances than the project's limit", instances=there, limit=1)
    assert there == {"c1"}
    assert "maximum number of instances" in str(refusal), refusal


def test_create(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The cluster chooses the member of an instance that is one too many."""
    fill_project(cluster)
    with symptom("the instance is refused"):
        check_limit(cluster)


@pytest.mark.role("workaround")
def test_create_on_target(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The request names the member."""
    fill_project(cluster)
    with symptom("the instance is refused"):
        check_limit(cluster, "--target", cluster.members[0].name)
