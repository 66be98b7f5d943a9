"""Whether something listens at the address at which a member's cluster reaches it."""

from clusterproof import PORT, Member, NotObservedError, Shown, eventually

DEAF = "nothing, though the daemon is ready"
# Seconds for any answer, and for a listener that may still be opened.
SEEN, OPENED = 60, 5
REFUSED = 7  # curl's exit status where nothing listens; one that is only slow has another


def listener(member: Member) -> str:
    """Return what answers at the cluster's address of ``member``, and whether its daemon is up."""
    url = f"https://{member.address}:{PORT}/"
    asked = member.run(["curl", "--silent", "--insecure", "--output", "/dev/null", "--max-time", "5", url])
    if asked.ok:
        return "answers"
    if asked.rc != REFUSED:
        return f"no answer within 5 s, or no whole one (curl {asked.rc})"
    return DEAF if member.daemon.is_ready() else "nothing, nor a daemon"


def check_listener(member: Member) -> None:
    """Something answers at the cluster's address of ``member``."""
    address = f"{member.address}:{PORT}"
    # What is only slow, on a busy computer, is neither.
    eventually(
        lambda: listener(member),
        lambda seen: seen in ("answers", DEAF),
        within=SEEN,
        what=f"whether something listens at {address}",
    )
    try:
        eventually(
            lambda: listener(member),
            lambda seen: seen == "answers",
            within=OPENED,
            what=f"a listener at {address}, the cluster's address",
        )
    except NotObservedError as late:
        if late.last != DEAF:
            raise
        raise Shown("cluster's listener gone while the daemon is ready", address=address) from late
