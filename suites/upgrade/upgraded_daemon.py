"""What a daemon does after its upgrade: it gets ready, waits for the other members, or ends."""

import re
import tomllib
from collections import Counter
from pathlib import Path

from clusterproof import Member, Shown, eventually

# Logged by a member whose schema or API extensions are ahead of the others'.
WAITS = "Wait for other cluster nodes to upgrade their version"
# A daemon's last error in the journal; of a panic the lines down to the caller of what failed.
LAST_ERROR = re.compile(r'\]: .*Failed to start the daemon" err=.*|\]: panic: .*(?:\n.*){,12}')
ENDED = "ended: "
CRASH_WATCH = Path(__file__).parents[1] / "daemon/crash_watch.toml"
# Errors that docs/findings describes, by the name of the finding: races, for which the way out is to start
# the daemon again. Those that are crashes, the crash watch's entry lists.
KNOWN = {
    "incus-upgrade-patch-locked": r'Failed applying patch \\?"db_json_columns\\?": .*database is locked',
    "lxd-upgrade-patch-locked": r'Failed applying patch \\?"storage_\w+_v2\\?": .*database is locked',
    **{crash["finding"]: crash["regex"] for crash in tomllib.loads(CRASH_WATCH.read_text())["known_crashes"]},
}


def wait_until(member: Member, *wanted: str, known_ends: Counter[str]) -> None:
    """Wait until the daemon of ``member`` is in one of the states ``wanted`` ("ready", "waits").

    A daemon that ends with a known error is started again and counted in ``known_ends``, by the member's
    name. Raises Shown where it ends with another one, and AssertionError where it reaches none in time.
    """
    seen = eventually(
        lambda: state(member, known_ends),
        lambda seen: seen in wanted or seen.startswith(ENDED),
        within=180,  # no promise: a busy computer takes its time for a start
        what=f"{member.name}: {' or '.join(wanted)}",
    )
    if seen not in wanted:
        raise Shown("daemon ended", member=member.name, error=seen.removeprefix(ENDED))


def state(member: Member, known_ends: Counter[str]) -> str:
    """Return "ready", "waits", "ended: " with the error, or nothing while the daemon is busy."""
    if member.daemon.is_ready():
        return "ready"
    log = member.daemon.log()
    ends = LAST_ERROR.findall(log)
    if len(ends) == known_ends[member.name]:
        return "waits" if WAITS in log else ""
    findings = [name for name, error in KNOWN.items() if re.search(error, ends[-1])]
    if not findings:
        return f"{ENDED}{ends[-1]}"
    known_ends[member.name] = len(ends)
    with member.transcript.step("lab", member.name, f"start again, as docs/findings/{findings[0]}.md says"):
        member.daemon.restart()
    return ""
