"""A project that holds a volume must not be deleted (canonical/lxd#15179).

Only an empty project can be deleted. One whose only profile is "default", as in every project that has
profiles, was taken for empty before anybody looked for volumes, networks or network ACLs. What the database
knew of them went with the project; the volume's data stayed in the pool, where nothing knows of it.

That the project is gone while the volume's folder is still there proves that it is this bug.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-15179"), pytest.mark.members(1)]

VOLUMES = "storage-pools/local/volumes/custom"


def make_project(cluster: Cluster) -> None:
    """A project p1 with the volume v1 and nothing else."""
    client = cluster.client()
    client.post("projects", {"name": "p1"})
    client.post(VOLUMES, {"name": "v1", "type": "custom"}, project="p1")
    assert [volume["name"] for volume in client.get(VOLUMES, recursion=1, project="p1")] == ["v1"]


def test_delete_project(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A project in which there is a volume is deleted."""
    make_project(cluster)
    member, client = cluster.members[0], cluster.client()
    data = member.inspect.file(f"{member.facts.state_dir}/storage-pools/local/custom/p1_v1")
    with symptom("the project is kept, and its volume"):
        refusal = refused(client.delete, "projects/p1")
        projects = client.get("projects")
        if "/1.0/projects/p1" not in projects and data.exists:
            raise Shown("project deleted around its volume", projects=projects, left=data.path)
        assert "Only empty projects can be removed" in str(refusal), refusal
        assert client.get(f"{VOLUMES}/v1", project="p1")["name"] == "v1"
