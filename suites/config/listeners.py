"""What listens at the address of a member that its cluster knows."""

from clusterproof.fixtures import Member, eventually
from clusterproof.lab.substrates.machine import PORT


def listener(member: Member) -> str:
    """Return what is at the cluster's address of ``member``; a dead daemon counts as another thing."""
    url = f"https://{member.address}:{PORT}/"
    if member.run(["curl", "--silent", "--insecure", "--output", "/dev/null", "--max-time", "5", url]).ok:
        return "answers"
    return "nothing, though the daemon is ready" if member.daemon.is_ready() else "nothing, nor a daemon"


def check_listener(member: Member) -> None:
    """Something answers at the cluster's address of ``member``."""
    eventually(
        lambda: listener(member),
        lambda seen: seen == "answers",
        within=5,
        what=f"a listener at {member.address}:{PORT}, the cluster's address",
    )
