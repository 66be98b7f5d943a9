"""A cluster is upgraded member by member, and everything in it is still there.

Both upstreams document that members are upgraded one by one, that an upgraded member waits until the
others have followed, and that the cluster then continues as before.

When they continue, all at the same moment, a daemon may end for one of two reasons that docs/findings/
describes. Both are races, which another scenario (incus-patch-locked) or nothing yet makes certain; both
have the same way out, which is taken here so that the promise is judged and not the race: a daemon that ended
in just that way is started again. One that ends in any other way breaks the promise.
"""

from collections import Counter

import pytest

from clusterproof import Cluster, Image, Shown, SymptomWatch
from clusterproof.suites.upgrade.upgraded_daemon import wait_until

pytestmark = [pytest.mark.documents("rolling-upgrade"), pytest.mark.upgrade]


def check_kept(cluster: Cluster) -> None:
    """The configuration from before is there."""
    config = cluster.client().get("")["config"]
    if config.get("user.kept") != "yes":
        raise Shown("configuration lost", key="user.kept", config=config)


def test_member_by_member(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """Three members are upgraded to the next build, with an instance and a configuration key."""
    first = cluster.members[0]
    first.init("c1", "--target", first.name)
    cluster.client(first).patch("", {"config": {"user.kept": "yes"}})

    known_ends: Counter[str] = Counter()
    for member in reversed(cluster.members):
        cluster.upgrade(member, image)
        with symptom("the upgraded member is ready or waits for the others"):
            wait_until(member, "ready", "waits", known_ends=known_ends)
    with symptom("all members are online on the new build"):
        for member in cluster.members:
            wait_until(member, "ready", known_ends=known_ends)
        cluster.wait_online()
    with symptom("what was in the cluster still works"):
        check_kept(cluster)
        first.client("start", "c1")
        cluster.wait_running("c1")


@pytest.mark.members(1)
@pytest.mark.role("injection")
def test_daemon_ends(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """The new build ends at its first start, with an error that no finding describes."""
    member = cluster.members[0]
    member.write(member.facts.patch_file, "this is no SQL;\n")
    cluster.upgrade(member, image)
    with symptom("the upgraded member is ready or waits for the others"):
        wait_until(member, "ready", "waits", known_ends=Counter())


@pytest.mark.members(1)
@pytest.mark.role("injection")
def test_configuration_lost(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """A configuration key is removed after the upgrade, as if the upgrade had lost it."""
    member = cluster.members[0]
    cluster.client().patch("", {"config": {"user.kept": "yes"}})
    cluster.upgrade(member, image)
    wait_until(member, "ready", known_ends=Counter())
    check_kept(cluster)
    cluster.client().patch("", {"config": {"user.kept": ""}})
    with symptom("what was in the cluster still works"):
        check_kept(cluster)
