"""A member that is renamed must know its new name at once (canonical/lxd#11534).

``cluster rename`` wrote the new name into the database, but the daemon kept the old one until it was
restarted: ``/1.0/cluster`` still reported it, and lookups by the server's own name found nothing.

The cluster lists the member by its new name while the member calls itself by the old one: that
contradiction proves that it is this bug. A restart of the daemon ends it.
"""

import json

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-11534"), pytest.mark.members(1)]

NEW = "renamed"


def rename(cluster: Cluster) -> Member:
    """The only member is renamed, and listed by its new name."""
    member = cluster.members[0]
    member.client("cluster", "rename", member.name, NEW)
    assert list(cluster.statuses()) == [NEW]
    return member


def check_name(member: Member) -> None:
    """The member calls itself by its new name."""
    own = json.loads(member.client("query", "/1.0/cluster").stdout)["server_name"]
    if own == member.name:
        raise Shown("member calls itself by its old name", listed=NEW, own=own)
    assert own == NEW


def test_rename(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member is renamed."""
    member = rename(cluster)
    with symptom("the renamed member knows its new name"):
        check_name(member)


@pytest.mark.role("workaround")
def test_rename_and_restart(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member is renamed and its daemon restarted."""
    member = rename(cluster)
    member.daemon.restart(wait=True)
    with symptom("the renamed member knows its new name"):
        check_name(member)
