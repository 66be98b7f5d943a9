"""Whether something listens at the address at which a member's cluster reaches it."""

from clusterproof import PORT, Member, eventually


def listener(member: Member) -> str:
    """Return what answers at the cluster's address of ``member``, and whether its daemon is up."""
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
