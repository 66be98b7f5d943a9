"""A member that is removed is not trusted any more, and its name is free.

The documentation of both products says that a removed member leaves the cluster. What made it a member, its
certificate among the trusted ones and its rows in the database, must go with it: else the machine, which
may have been removed because somebody broke into it, could still do all that a member can. Forced removal,
of a member that is dead, is no exception.
"""

import re

import pytest

from clusterproof import Cluster, SymptomWatch, eventually
from clusterproof.suites.certificates.member_trust import auth, server_certificate

pytestmark = [pytest.mark.documents("removed-not-trusted"), pytest.mark.members(2)]


def check_untrusted(cluster: Cluster) -> None:
    """The removed machine is no member, has no certificate in the list, and is not trusted."""
    first, removed = cluster.members
    assert list(cluster.statuses()) == [first.name]
    known = cluster.client().get("certificates", recursion=1)
    assert not [entry["name"] for entry in known if entry["type"] == "server" and entry["name"] == removed.name]
    eventually(lambda: auth(removed, first), lambda seen: seen == "untrusted", within=60)
    for table in ("nodes", "nodes_cluster_groups", "storage_pools_nodes"):
        rows = cluster.members[0].sql("global", f"SELECT count(*) AS n FROM {table}")
        assert re.findall(r"\d+", rows) == ["1"], f"{table}: {rows}"


def test_remove(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member is removed."""
    first, second = cluster.members
    server_certificate(cluster, second)
    assert auth(second, first) == "trusted"
    cluster.client().delete(f"cluster/members/{second.name}", timeout=120)
    with symptom("the removed machine is not trusted"):
        check_untrusted(cluster)


def test_remove_dead(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member whose daemon is dead is removed by force."""
    first, second = cluster.members
    assert auth(second, first) == "trusted"
    second.daemon.kill()
    cluster.client().delete(f"cluster/members/{second.name}", timeout=120, force=1)
    with symptom("the removed machine is not trusted"):
        check_untrusted(cluster)
