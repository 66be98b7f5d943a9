"""An evacuation that cannot end, because a container does not stop when it is asked to."""

from clusterproof import Cluster, Member, eventually

# Seconds that the evacuation waits for the container: longer than any scenario.
PATIENCE = 3600


def signal_c1(member: Member, signal: str) -> None:
    """Send ``signal`` to the first process of the container c1."""
    pid = member.client("query", "/1.0/instances/c1/state").stdout.partition('"pid": ')[2].partition(",")[0]
    member.run(["kill", f"-{signal}", pid], check=True)


def begin_evacuation(cluster: Cluster) -> Member:
    """Begin to evacuate the first member, which is returned, where c1 runs and is stopped (SIGSTOP)."""
    member = cluster.members[0]
    options = ["--config=cluster.evacuate=stop", f"--config=boot.host_shutdown_timeout={PATIENCE}"]
    member.launch("c1", *options)
    assert cluster.instance("c1").status == "Running"
    signal_c1(member, "STOP")
    cluster.client().begin(f"cluster/members/{member.name}/state", {"action": "evacuate"})
    return member


def left_online(cluster: Cluster, member: Member) -> str:
    """Wait until ``member`` is no longer Online, and return what it is."""
    return eventually(
        lambda: cluster.statuses()[member.name],
        lambda status: status != "Online",
        within=60,
        what=f"{member.name} is no longer Online",
    )
