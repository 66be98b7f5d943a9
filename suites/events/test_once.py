"""An event must be delivered once (lxc/incus#2615).

A member listens to the events of all others and passes them on. It left itself out by comparing addresses:
with ``core.https_address`` set to all addresses, its own in the cluster is another text. Such a member
listened to itself, and every event of its own reached its clients a second time.

That one listener hears the event of one change twice proves the bug. Whether a member has begun to listen
to itself is not to be seen, so that things are changed for longer than the ten seconds after which it looks
for others to listen to.
"""

import json
from collections import Counter
from contextlib import suppress

import pytest

from clusterproof import PORT, Cluster, Member, NotObservedError, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("incus-2615"), pytest.mark.members(1)]

LOG = "/run/events"
LONG_ENOUGH = 40.0


def listen(member: Member) -> None:
    """Write what ``member`` reports of changes to a file from now on."""
    monitor = f"{member.facts.client} monitor --all-projects --type=lifecycle --format=json > {LOG}"
    member.run(["systemd-run", "--quiet", "--setenv=HOME=/root", "sh", "-c", monitor], check=True)


def heard(member: Member) -> Counter[str]:
    """Return how often the making of each project was heard, by its path."""
    lines = member.run(f"cat {LOG}").stdout.splitlines()
    events = [json.loads(line)["metadata"] for line in lines if line.endswith("}")]
    return Counter(event["source"] for event in events if event["action"] == "project-created")


def most(cluster: Cluster) -> int:
    """Make another project; return how often one of those so far was heard."""
    name = f"p{len(cluster.client().get('projects'))}"
    cluster.client().post("projects", {"name": name})
    return max(heard(cluster.members[0]).values(), default=0)


def test_listener_at_all_addresses(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The member listens at all its addresses."""
    member = cluster.members[0]
    member.client("config", "set", f"core.https_address=[::]:{PORT}")
    member.daemon.restart(wait=True)
    listen(member)
    with symptom("every event is heard once"):
        with suppress(NotObservedError):
            eventually(lambda: most(cluster), lambda count: count > 1, within=LONG_ENOUGH, every=2)
        counts = heard(member)
        if doubled := [path for path, count in counts.items() if count > 1]:
            raise Shown("events delivered twice", doubled=doubled, counts=dict(counts))
        assert set(counts.values()) == {1}
