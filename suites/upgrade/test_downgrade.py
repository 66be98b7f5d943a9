"""A downgrade inside a long-term support channel must not break the cluster (canonical/lxd#15313).

At start LXD compared its own number of API extensions with those that the others had left in the
``nodes`` table, and refused to start when it had fewer: after 5.21.3 -> 5.21.2 the socket of the member
was dead and the others lost its heartbeat, for good, also when all had gone back. Since the fix only the
schema of the database counts with Incus, and with LXD a member waits until the others have gone back, too.

The number can be raised by an environment variable, so that a single build can be "downgraded" by one
extension; where the catalogue has two builds with one schema, the real downgrade is made too. That the
log of the member reports that its version is behind proves that it is this refusal and no other failure.
"""

from collections.abc import Callable

import pytest

from clusterproof import Cluster, Image, Member, SymptomWatch, eventually

pytestmark = pytest.mark.documents("lxd-15313")

BEHIND = "version is behind"
# LXD 5.21.4, canonical/lxd#15314: checkClusterIsUpgradable in lxd/db/cluster/open.go, and lxd/daemon.go.
WAITING = "Wait for other cluster members to align their versions"
# Seconds for what is no promise: how long a start, or a heartbeat, takes on a busy computer.
STARTED, HEARTBEAT = 120, 120


def restart_all_with_one_more_extension(cluster: Cluster) -> None:
    """All members as after an upgrade to a build with one more API extension.

    Members wait for each other when their numbers differ, so all are stopped before any starts. The cluster
    cannot be formed with it to begin with: asked for /1.0, Incus 6.0.4 to 7.5.1 then close the connection.
    """
    for member in cluster.members:
        member.daemon.set_environment(**{member.facts.bump_variable: "1"})
    for member in cluster.members:
        member.daemon.stop()
    for member in cluster.members:
        member.daemon.start()
    cluster.wait_online()


def downgrade_by_one_extension(member: Member) -> None:
    """Restart the daemon of ``member`` without the extra API extension."""
    member.daemon.stop()
    member.daemon.set_environment()
    member.daemon.start()


def times_waited(member: Member) -> int:
    """Return how often ``member`` has said that it waits for the others' versions."""
    return member.daemon.log().count(WAITING)


def check_back(cluster: Cluster, member: Member, downgrade: Callable[[Member], None], waited: int = 0) -> None:
    """The socket of ``member`` answers, and the others get its heartbeat.

    They may report it as Blocked, which means that it has to be upgraded, but not as Offline. Where it waits
    for the others, which it had done ``waited`` times before it was downgraded, they follow by ``downgrade``.
    """

    def waits() -> bool:
        return times_waited(member) > waited

    eventually(
        lambda: member.daemon.is_ready() or BEHIND in member.daemon.log() or waits(),
        within=STARTED,
        what=f"{member.name} is ready or says that its version is behind",
    )
    followed = waits()
    if followed:
        for other in cluster.members:
            if other is not member:
                downgrade(other)
    # Also a daemon that has only warned gets ready; one that waits looks once a minute.
    member.daemon.wait_ready(within=STARTED if followed else 20)
    first = cluster.members[0]
    eventually(
        lambda: cluster.statuses(first)[member.name],
        lambda status: status in ("Online", "Blocked"),
        within=HEARTBEAT,
        what=f"{first.name} gets the heartbeat of {member.name}",
    )


def test_one_extension_less(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member comes back with one API extension less than before."""
    restart_all_with_one_more_extension(cluster)
    downgraded = cluster.members[-1]
    waited = times_waited(downgraded)
    downgrade_by_one_extension(downgraded)
    with symptom("the downgraded member comes back"):
        check_back(cluster, downgraded, downgrade_by_one_extension, waited)


@pytest.mark.downgrade
@pytest.mark.applies_to("same-schema")
def test_previous_build(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """A member comes back with the build before its own, which has the same database schema."""
    downgraded = cluster.members[-1]
    cluster.upgrade(downgraded, image)
    with symptom("the downgraded member comes back"):
        check_back(cluster, downgraded, lambda member: cluster.upgrade(member, image))


@pytest.mark.role("workaround")
def test_repaired_by_patch_file(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The documented repair brings back a cluster whose members have all been downgraded."""
    extensions = len(cluster.client().get("")["api_extensions"])
    restart_all_with_one_more_extension(cluster)
    for member in cluster.members:
        member.daemon.stop()
    for member in cluster.members:
        member.daemon.set_environment()
        member.write(member.facts.patch_file, f"UPDATE nodes SET api_extensions={extensions};\n")
    for member in cluster.members:
        member.daemon.start()
    with symptom("the repaired cluster comes back"):
        cluster.wait_online()
        for member in cluster.members:
            member.daemon.wait_ready()
