"""A join under a name that is taken must leave nothing on the joiner (lxc/incus#1680).

The name was looked at when the joiner asked to be accepted, and by then it had made and mounted the pools
of the cluster, which stayed (lxc/incus#1636). Since the fix it looks before it makes anything.

Join tokens are for names that are free, so the cluster trusts the joiner's certificate instead. That the
product says that there is such a member, and that a pool is then mounted, proves that it is this failure.
"""

import json

import pytest

from fixtures import Cluster, SymptomWatch
from suites.membership.joining import (
    PORT,
    check_nothing_mounted,
    join,
    make_cluster,
    seed,
)

pytestmark = [pytest.mark.documents("incus-1680"), pytest.mark.members(2)]


def test_name_taken(members: Cluster, symptom: SymptomWatch) -> None:
    """A server tries to join under the name of a member."""
    first, joiner = make_cluster(members)
    own = joiner.read(f"{joiner.facts.state_dir}/server.crt").decode()
    body = {"name": first.name, "type": "server", "certificate": "".join(own.split("-----")[2].split())}
    first.client("query", "--request", "POST", "--data", json.dumps(body), "/1.0/certificates")
    theirs = first.read(f"{first.facts.state_dir}/cluster.crt").decode()
    address = f"{first.address}:{PORT}"
    taken = seed(joiner, server_name=first.name, cluster_address=address, cluster_certificate=theirs)
    said = join(joiner, taken)
    assert "already has a member with name" in said, said
    with symptom("the joiner has nothing of the cluster"):
        check_nothing_mounted(joiner)
