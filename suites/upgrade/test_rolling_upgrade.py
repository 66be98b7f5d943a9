"""A cluster is upgraded member by member, and everything in it is still there.

Both upstreams document that members are upgraded one by one, that an upgraded member waits until the
others have followed, and that the cluster then goes on as before.

When they go on, all at the same moment, a daemon may end for one of two reasons that docs/findings/ tells
of. Both are races, which another scenario (incus-patch-locked) or nothing yet makes certain; both have the
same way out, which is taken here so that the promise is judged and not the race: a daemon that ended in
just that way is started again. One that ends in any other way breaks the promise.
"""

import re
from collections import Counter

import pytest

from clusterproof.fixtures import TINY_IMAGE, Cluster, Member, SymptomWatch, eventually
from clusterproof.lab.images.image import Image

pytestmark = [pytest.mark.documents("rolling-upgrade"), pytest.mark.upgrade]


# Of a member whose schema or API extensions are ahead of the others'.
WAITS = "Wait for other cluster nodes to upgrade their version"
# The daemon's last words in the journal; a panic's lines go down to what called what had failed.
LAST_WORDS = re.compile(r'\]: .*Failed to start the daemon" err=.*|\]: panic: .*(?:\n.*){,6}')
# By the name of the finding.
KNOWN = {
    "incus-upgrade-patch-locked": r'Failed applying patch \\?"db_json_columns\\?": .*database is locked',
    "upgrade-waiting-leader-panics": r"(?s)nil pointer dereference.*cluster\.\(\*Gateway\)\.heartbeat\(",
}


def look(member: Member, known_ends: Counter[str]) -> str:
    """What the daemon of ``member`` is about: it is ready, waits or has ended; nothing where it is busy.

    Where it has ended in a known way it is started again, and ``known_ends`` counts that.
    """
    if member.daemon.is_ready():
        return "ready"
    log = member.daemon.log()
    ends = LAST_WORDS.findall(log)
    if len(ends) == known_ends[member.name]:
        return "waits" if WAITS in log else ""
    findings = [name for name, words in KNOWN.items() if re.search(words, ends[-1])]
    if not findings:
        return f"ended: {ends[-1]}"
    known_ends[member.name] = len(ends)
    with member.transcript.step("lab", member.name, f"start again, as docs/findings/{findings[0]}.md says"):
        member.daemon.restart()
    return ""


def wait_until(member: Member, *wanted: str, known_ends: Counter[str]) -> None:
    """Wait until ``member`` is about one of what is wanted; it must not end in a way that is not known."""
    seen = eventually(
        lambda: look(member, known_ends),
        lambda seen: seen in wanted or seen.startswith("ended"),
        within=60,
        what=f"{member.name}: {' or '.join(wanted)}",
    )
    assert seen in wanted, f"the daemon of {member.name} {seen}"


def check_kept(cluster: Cluster) -> None:
    """The configuration from before is there."""
    config = cluster.client().get("")["config"]
    assert config.get("user.kept") == "yes", f"lost in the upgrade: user.kept is not in {config}"


def test_member_by_member(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """Three members go to the next build; an instance and a configuration key go with them."""
    first = cluster.members[0]
    first.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    first.client("init", "tiny", "c1", "--target", first.name)
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
        eventually(
            lambda: cluster.client(first).get("instances/c1")["status"],
            lambda status: status == "Running",
            within=20,
            what="c1 runs on the new build",
        )


@pytest.mark.members(1)
@pytest.mark.role("injection")
def test_daemon_ends(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """The new build ends at its first start, for a reason of which no finding tells."""
    member = cluster.members[0]
    member.write(member.facts.patch_file, "this is no SQL;\n")
    cluster.upgrade(member, image)
    with symptom("the upgraded member is ready or waits for the others"):
        wait_until(member, "ready", "waits", known_ends=Counter())


@pytest.mark.members(1)
@pytest.mark.role("injection")
def test_configuration_lost(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """The upgrade costs a configuration key, which is taken away by hand."""
    member = cluster.members[0]
    cluster.client().patch("", {"config": {"user.kept": "yes"}})
    cluster.upgrade(member, image)
    wait_until(member, "ready", known_ends=Counter())
    check_kept(cluster)
    cluster.client().patch("", {"config": {"user.kept": ""}})
    with symptom("what was in the cluster still works"):
        check_kept(cluster)
