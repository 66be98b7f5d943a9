"""A join under a name that is taken must leave nothing on the joiner (lxc/incus#1680).

The name was checked when the joiner asked to be accepted, and by then it had made and mounted the pools
of the cluster, which stayed (lxc/incus#1636). Since the fix it is checked before anything is made.

Join tokens are for names that are free, so the cluster trusts the joiner's certificate instead. That the
product reports that there is such a member, and that a pool is then mounted, proves that it is this failure.
"""

import json

import pytest

from clusterproof import PORT, Cluster, Member, SymptomWatch
from clusterproof.suites.membership.joining import (
    SOURCE,
    check_nothing_mounted,
    init,
    make_cluster,
    preseed,
)

pytestmark = [pytest.mark.documents("incus-1680"), pytest.mark.members(2)]


def join_under_taken_name(unjoined: Cluster) -> Member:
    """A server tries to join under the name of a member, and is refused; return it."""
    first, joiner = make_cluster(unjoined)
    own = joiner.read(f"{joiner.facts.state_dir}/server.crt").decode()
    body = {"name": first.name, "type": "server", "certificate": "".join(own.split("-----")[2].split())}
    first.client("query", "--request", "POST", "--data", json.dumps(body), "/1.0/certificates")
    theirs = first.read(f"{first.facts.state_dir}/cluster.crt").decode()
    address = f"{first.address}:{PORT}"
    taken = preseed(joiner, server_name=first.name, cluster_address=address, cluster_certificate=theirs)
    error = init(joiner, taken)
    assert "already has a member with name" in error, error
    return joiner


def test_name_taken(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The refused server has nothing of the cluster."""
    joiner = join_under_taken_name(unjoined)
    with symptom("the joiner has nothing of the cluster"):
        check_nothing_mounted(joiner)


@pytest.mark.role("injection")
def test_left_mounted(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The pool is mounted on the refused server by hand, as builds before the fix leave it."""
    joiner = join_under_taken_name(unjoined)
    pool = f"{joiner.facts.state_dir}/storage-pools/data"
    source = joiner.daemon.sees(SOURCE)
    by_hand = f"umount {pool} 2>/dev/null; mkdir -p {pool} && mount --bind {source} {pool}"
    joiner.run(by_hand, check=True, beside_daemon=True)
    with symptom("the joiner has nothing of the cluster"):
        check_nothing_mounted(joiner)
