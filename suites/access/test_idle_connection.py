"""A client that sends nothing must not keep the others waiting (canonical/lxd#18705).

A connection to the unix socket may begin with STARTTLS. The daemon looked for that before it accepted the next
connection, and without a limit of time: one client that connected and sent nothing, because it was stopped, or
waited for something else, blocked all other local clients until it was gone.

That a local client is not answered while the other connection is open, although the daemon answers over the
network, and is answered once that connection is closed, proves that it is this bug.
"""

import pytest

from clusterproof import Cluster, CommandTimeoutError, Member, Shown, SymptomWatch, idle_connection

pytestmark = [pytest.mark.documents("lxd-18705"), pytest.mark.members(1)]

ANSWERED = 30.0


def is_answered(member: Member) -> bool:
    """Say whether a client on ``member`` is answered in time."""
    try:
        member.client("query", "/1.0", timeout=ANSWERED)
    except CommandTimeoutError:
        return False
    return True


def test_idle_connection(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A client connects to the socket and sends nothing; another one asks."""
    member = cluster.members[0]
    assert is_answered(member)
    with symptom("a local client is answered while another one is idle"):
        with idle_connection(member):
            answered = is_answered(member)
            status = cluster.statuses()[member.name]
        if not answered and is_answered(member):
            raise Shown("local clients wait for an idle one", waited=ANSWERED, meanwhile=status)
        assert answered
