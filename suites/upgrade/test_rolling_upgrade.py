"""A cluster is upgraded member by member, and everything in it is still there.

Both upstreams document that members are upgraded one by one, that an upgraded member waits until the
others have followed, and that the cluster then goes on as before.
"""

import pytest

from fixtures import TINY_IMAGE, Cluster, Member, SymptomWatch, eventually
from lab.image import Image

pytestmark = [pytest.mark.documents("rolling-upgrade"), pytest.mark.upgrade]


# Of a member whose schema or API extensions are ahead of the others'.
WAITS = "Wait for other cluster nodes to upgrade their version"


def wait_settled(member: Member) -> None:
    """Wait until the daemon of ``member`` is ready, or says that it has to wait for the others."""
    eventually(
        lambda: member.daemon.is_ready() or WAITS in member.daemon.log(),
        within=30,
        what=f"{member.name} is ready or waits for the others",
    )


def test_member_by_member(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """Three members go to the next build; an instance and a configuration key go with them."""
    first = cluster.members[0]
    first.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    first.client("init", "tiny", "c1", "--target", first.name)
    cluster.client(first).patch("", {"config": {"user.kept": "yes"}})

    for member in reversed(cluster.members):
        cluster.upgrade(member, image)
        with symptom("the upgraded member is ready or waits for the others"):
            wait_settled(member)
    with symptom("all members are online on the new build"):
        for member in cluster.members:
            member.daemon.wait_ready(within=30)
        cluster.wait_online()
    with symptom("what was in the cluster still works"):
        config = cluster.client(first).get("")["config"]
        assert config.get("user.kept") == "yes", f"lost in the upgrade: user.kept is not in {config}"
        first.client("start", "c1")
        eventually(
            lambda: cluster.client(first).get("instances/c1")["status"],
            lambda status: status == "Running",
            within=20,
            what="c1 runs on the new build",
        )
