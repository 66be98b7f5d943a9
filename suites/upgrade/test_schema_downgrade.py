"""A build with an older database schema refuses to start, clearly, and the newer build repairs it.

That it refuses is by design; canonical/lxd#15313 is about builds with the same schema. The promise is
that its log says so, that the other members stay online meanwhile, and that nothing is lost: the cluster
is whole again once the member runs the newer build.
"""

import pytest

from clusterproof import Cluster, Image, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("schema-downgrade"), pytest.mark.downgrade]


def go_back(cluster: Cluster, image: Image) -> Image:
    """One of three members goes back to a build with an older schema; return the image it had before."""
    first, _, downgraded = cluster.members
    newer = downgraded.image
    cluster.client(first).patch("", {"config": {"user.kept": "yes"}})
    cluster.upgrade(downgraded, image)
    return newer


def check_whole(cluster: Cluster) -> None:
    """All members are Online, and what was configured is still there."""
    downgraded = cluster.members[-1]
    downgraded.daemon.wait_ready()
    cluster.wait_online(asked=downgraded)
    config = cluster.client(downgraded).get("")["config"]
    if config.get("user.kept") != "yes":
        raise Shown("configuration lost", key="user.kept", config=config)


@pytest.mark.applies_to("older-schema")
def test_refused_and_healed(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """The downgraded member logs why it does not start, the others stay online, the newer build works again."""
    first, second, downgraded = cluster.members
    newer = go_back(cluster, image)

    with symptom("the log says why the member does not start"):
        eventually(
            downgraded.daemon.log,
            lambda log: "version is behind" in log,
            within=120,
            what=f"{downgraded.name} says that its version is behind",
        )
    with symptom("the other members stay online"):
        # Of those that are up a busy computer may deliver a heartbeat late.
        eventually(
            lambda: cluster.statuses(second),
            {first.name: "Online", second.name: "Online", downgraded.name: "Offline"}.__eq__,
            within=120,
            what=f"{second.name} reports {downgraded.name} alone as Offline",
        )

    cluster.upgrade(downgraded, newer)
    with symptom("the cluster is whole again on the newer build"):
        check_whole(cluster)


@pytest.mark.applies_to("older-schema")
@pytest.mark.role("injection")
def test_configuration_lost(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """A configuration key is removed after the way back and forth, as if that had lost it."""
    newer = go_back(cluster, image)
    cluster.upgrade(cluster.members[-1], newer)
    check_whole(cluster)
    cluster.client().patch("", {"config": {"user.kept": ""}})
    with symptom("the cluster is whole again on the newer build"):
        check_whole(cluster)
