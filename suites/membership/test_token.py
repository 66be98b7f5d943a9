"""A join token is for one join.

The documentation of both products calls a join token single-use. A token that somebody finds later, in a
file or a log, must be worth nothing, and of two machines that use it at once only one may join. What the other
one of these leaves behind is the matter of lxd-18617.
"""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from clusterproof import PORT, Cluster, Member, SymptomWatch
from clusterproof.suites.membership.joining import init

pytestmark = pytest.mark.documents("token-single-use")


def make_cluster(unjoined: Cluster) -> tuple[Member, Member, str]:
    """The first member is a cluster; return two others and a token for a member "m2"."""
    first, *others = unjoined.members
    unjoined.bootstrap(first)
    for other in others:
        other.daemon.start(wait=True)
    return others[0], others[1], unjoined.token("m2")


def join(joiner: Member, token: str) -> str:
    """Let ``joiner`` join as "m2" with ``token``; return the product's error, nothing where it succeeds."""
    address = f"{joiner.address}:{PORT}"
    section = {"enabled": True, "server_name": "m2", "server_address": address, "cluster_token": token}
    return init(joiner, json.dumps({"cluster": section}))


def check_one_joined(unjoined: Cluster, errors: list[str]) -> None:
    """One of the joins has failed, and one has made the member m2."""
    assert sorted(map(bool, errors)) == [False, True], errors
    members = unjoined.client().get("cluster/members")
    assert sorted(members) == ["/1.0/cluster/members/m1", "/1.0/cluster/members/m2"]


def test_used(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A token with which one machine has joined is used by another one."""
    second, third, token = make_cluster(unjoined)
    error = join(second, token)
    assert not error, error
    with symptom("the second join is refused"):
        check_one_joined(unjoined, [error, join(third, token)])
        known = unjoined.client().get("certificates", recursion=1)
        assert sorted(one["name"] for one in known if one["type"] == "server") == ["m1", "m2"]


def test_at_once(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """Two machines use one token at the same time."""
    second, third, token = make_cluster(unjoined)
    with symptom("one of the joins is refused"), ThreadPoolExecutor(2) as pool:
        check_one_joined(unjoined, list(pool.map(join, (second, third), (token, token))))
