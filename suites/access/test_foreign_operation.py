"""A restricted client must not cancel what the cluster does (canonical/lxd#17603).

Who may cancel an operation was asked of the instance, volume or other object that it is about. A join token
is an operation about no such object, so nobody was asked: every client that knew its id could cancel it.
Since LXD 6.7 only whoever started an operation may, and an administrator.

That the server reports the client as restricted, that the token was there, and that it is gone once this
client has asked, prove the bug. The id is given to the client: that it cannot list the operation is another
matter.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-17603"), pytest.mark.members(1)]


def token(cluster: Cluster) -> str:
    """Make a join token, as an administrator; return the id of its operation."""
    operation: str = cluster.client().begin("cluster/members", {"server_name": "m9"})["id"]
    assert running(cluster) == [operation]
    return operation


def running(cluster: Cluster) -> list[str]:
    """Return the ids of the operations that are join tokens, as an administrator sees them."""
    found = cluster.client().get("operations", recursion=1).get("running", [])
    return [one["id"] for one in found if one["metadata"] and one["metadata"].get("serverName") == "m9"]


def test_cancel_token(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A restricted client cancels a join token."""
    restricted = cluster.restricted_client("default")
    assert restricted.get("projects") == ["/1.0/projects/default"]
    operation = token(cluster)
    with symptom("a restricted client is refused and the token stays"):
        refusal = refused(restricted.delete, f"operations/{operation}")
        if not (left := running(cluster)) and not refusal:
            raise Shown("join token revoked by a restricted client", tokens=left)
        assert left == [operation]
        assert refusal, "the request was accepted"


@pytest.mark.role("control")
def test_cancel_token_as_administrator(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A client without restrictions cancels a join token."""
    operation = token(cluster)
    with symptom("an administrator cancels a token"):
        cluster.client().delete(f"operations/{operation}")
        assert not running(cluster)
