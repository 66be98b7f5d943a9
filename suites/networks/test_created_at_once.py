"""Networks that are created through two members at once must not wait for each other (canonical/lxd#18023).

A member takes a lock before it creates a network, also for a network that another member has been asked for
and tells it about. With a request at each of two members, each holds its lock and waits for the other's: no
network is created again until a daemon is restarted. LXD 6.8 takes the lock only for what a client asks.

The lock is taken before the request's body is read, so that both locks are certainly held where both
members wait for the body. That both requests then go unanswered, while both members answer otherwise, and
that the first is answered as soon as the second member's daemon is restarted, proves that they waited for
each other.
"""

import pytest

from clusterproof import Cluster, HeldRequest, Member, NotObservedError, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("lxd-18023"), pytest.mark.members(2)]

CONFIG = {"ipv4.address": "none", "ipv6.address": "none"}
ANSWERED = 60.0


def define(cluster: Cluster) -> None:
    """Define both networks on all members, which has to wait for nothing: no creation has begun."""
    for name in ("br1", "br2"):
        for member in cluster.members:
            cluster.client().post("networks", {"name": name, "type": "bridge"}, target=member.name)


def begin(asked: Member, name: str) -> HeldRequest:
    """Begin to create the network ``name`` through ``asked``."""
    return HeldRequest(asked, "networks", {"name": name, "type": "bridge", "config": CONFIG})


def check_created(cluster: Cluster, *requests: HeldRequest) -> None:
    """All ``requests`` are answered, and their networks created."""
    for request in requests:
        answer = eventually(request.answer, lambda seen: seen is not None, within=ANSWERED)
        assert '"status_code":200' in str(answer), answer
    networks = [cluster.client().get(f"networks/{name}") for name in ("br1", "br2")]
    assert [network["status"] for network in networks] == ["Created", "Created"]


def test_two_members(cluster: Cluster, symptom: SymptomWatch) -> None:
    """Two networks are created at the same time, each through a member of its own."""
    first, second = cluster.members
    define(cluster)
    requests = [begin(first, "br1"), begin(second, "br2")]
    with symptom("both networks are created"):
        for request in requests:
            request.wait_held()
        for request in requests:
            request.release()
        try:
            check_created(cluster, *requests)
        except NotObservedError as late:
            unanswered = [request.answer() for request in requests] == [None, None]
            if not unanswered or cluster.statuses() != {first.name: "Online", second.name: "Online"}:
                raise
            second.daemon.restart(wait=True)
            answer = eventually(requests[0].answer, lambda seen: seen is not None, within=ANSWERED)
            raise Shown("creations waited for each other", waited=ANSWERED, after_restart=answer) from late


@pytest.mark.role("workaround")
def test_one_member(cluster: Cluster, symptom: SymptomWatch) -> None:
    """Two networks are created at the same time, both through one member."""
    first, _ = cluster.members
    define(cluster)
    requests = [begin(first, "br1")]
    with symptom("both networks are created"):
        requests[0].wait_held()
        requests.append(begin(first, "br2"))
        for request in requests:
            request.release()
        check_created(cluster, *requests)
