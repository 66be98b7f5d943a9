"""Whether something listens at the address at which a member's cluster reaches it."""

from clusterproof import PORT, Member, NotObservedError, Shown, eventually

DEAF = "nothing, though the daemon is ready"


def listener(member: Member) -> str:
    """Return what answers at the cluster's address of ``member``, and whether its daemon is up."""
    url = f"https://{member.address}:{PORT}/"
    if member.run(["curl", "--silent", "--insecure", "--output", "/dev/null", "--max-time", "5", url]).ok:
        return "answers"
    return DEAF if member.daemon.is_ready() else "nothing, nor a daemon"


def check_listener(member: Member) -> None:
    """Something answers at the cluster's address of ``member``."""
    address = f"{member.address}:{PORT}"
    try:
        eventually(
            lambda: listener(member),
            lambda seen: seen == "answers",
            within=5,
            what=f"a listener at {address}, the cluster's address",
        )
    except NotObservedError as late:
        if late.last != DEAF:
            raise
        raise Shown("cluster's listener gone while the daemon is ready", address=address) from late
