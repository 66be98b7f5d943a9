"""A build with an older database schema refuses to start, clearly, and going forward again heals.

That it refuses is by design; canonical/lxd#15313 is about builds with the same schema. The promise is
that its log says so, that the other members stay online meanwhile, and that nothing is lost: the cluster
is whole again once the member runs the newer build.
"""

import pytest

from fixtures import Cluster, SymptomWatch, eventually
from lab.image import Image

pytestmark = [pytest.mark.documents("schema-downgrade"), pytest.mark.downgrade]


@pytest.mark.applies_to("older-schema")
def test_refused_and_healed(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """One of three members goes back to a build with an older schema, and forward again."""
    first, second, downgraded = cluster.members
    newer = downgraded.machine.image
    cluster.client(first).patch("", {"config": {"user.kept": "yes"}})
    cluster.upgrade(downgraded, image)

    with symptom("the log says why the member does not start"):
        eventually(
            downgraded.daemon.log,
            lambda log: "version is behind" in log,
            within=60,
            what=f"{downgraded.name} says that its version is behind",
        )
    with symptom("the other members stay online"):
        statuses = eventually(
            lambda: cluster.statuses(second),
            lambda seen: seen[downgraded.name] == "Offline",
            within=60,
            what=f"{second.name} reports {downgraded.name} Offline",
        )
        assert [statuses[first.name], statuses[second.name]] == ["Online", "Online"]

    cluster.upgrade(downgraded, newer)
    with symptom("the cluster is whole again on the newer build"):
        downgraded.daemon.wait_ready()
        cluster.wait_online(asked=downgraded)
        assert cluster.client(downgraded).get("")["config"]["user.kept"] == "yes"
