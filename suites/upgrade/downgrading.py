"""Going back to a build with fewer API extensions, and what a member says of its version then."""

from collections.abc import Callable

from clusterproof import Cluster, Member, eventually

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


def wait_started(member: Member, waited: int = 0) -> bool:
    """Wait until ``member`` is ready or says why it is not; return whether it waits for the others' versions.

    ``waited`` is how often it had said so before it was started.
    """

    def says_why(log: str) -> bool:
        return BEHIND in log or log.count(WAITING) > waited

    eventually(
        lambda: member.daemon.is_ready() or says_why(member.daemon.log()),
        within=STARTED,
        what=f"{member.name} is ready or says that its version is behind",
    )
    return times_waited(member) > waited


def check_back(
    cluster: Cluster, member: Member, downgrade: Callable[[Member], None], waited: int = 0
) -> None:
    """The socket of ``member`` answers, and the others get its heartbeat.

    They may report it as Blocked, which means that it has to be upgraded, but not as Offline. Where it waits
    for the others, which it had done ``waited`` times before it was downgraded, they follow by ``downgrade``,
    one after another: a member that starts while the next one stops may find no leader, and end.
    """
    waits = wait_started(member, waited)
    for other in cluster.members if waits else ():
        if other is not member:
            before = times_waited(other)
            downgrade(other)
            wait_started(other, before)
    # Also a daemon that has only warned gets ready; one that waits looks once a minute.
    member.daemon.wait_ready(within=STARTED if waits else 20)
    first = cluster.members[0]
    eventually(
        lambda: cluster.statuses(first)[member.name],
        lambda status: status in ("Online", "Blocked"),
        within=HEARTBEAT,
        what=f"{first.name} gets the heartbeat of {member.name}",
    )
