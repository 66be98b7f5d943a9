"""A volume cannot be moved to where it could not be found (canonical/lxd#11671).

A project without volumes of its own (``features.storage.volumes=false``) uses those of the project default.
LXD nevertheless moved a volume into such a project: it was then recorded there, where nobody looks, because
everybody who asks for the project's volumes is shown those of default. Since the fix that is refused.

That the volume is listed in neither project while its data lies on the member proves that it is this bug.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-11671"), pytest.mark.members(1)]

VOLUMES = "storage-pools/local/volumes/custom"


def volumes(cluster: Cluster, project: str) -> list[str]:
    """Return the names of the custom volumes that ``project`` shows."""
    return [volume["name"] for volume in cluster.client().get(VOLUMES, recursion=1, project=project)]


def test_move_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A volume of the project default is moved into a project that has no volumes of its own."""
    member, client = cluster.members[0], cluster.client()
    client.post("projects", {"name": "p1", "config": {"features.storage.volumes": "false"}})
    client.post(VOLUMES, {"name": "v1", "type": "custom"})
    assert volumes(cluster, "default") == volumes(cluster, "p1") == ["v1"]
    with symptom("the volume is found in a project"):
        refusal = refused(client.post, f"{VOLUMES}/v1", {"name": "v1", "pool": "local", "project": "p1"})
        found = {project: volumes(cluster, project) for project in ("default", "p1")}
        folder = member.inspect.file(f"{member.facts.state_dir}/storage-pools/local/custom")
        if not any(found.values()) and (there := folder.listdir()):
            raise Shown("volume moved out of every project's sight", listed=found, folder=there)
        assert found["default"] == ["v1"], refusal
        assert refusal, "it was moved into a project that has no volumes"
