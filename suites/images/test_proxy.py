"""Members must not use the configured proxy to copy images to each other (canonical/lxd#16604).

An image that is imported on one member is copied to others. The member that fetches it used the proxy of
``core.proxy_https``, which is for image servers in the internet, to reach its neighbour.

That the product reports that the proxy, at which nobody listens, refuses its connection, and that the same
import works without the proxy, proves the bug.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-18338"), pytest.mark.members(2)]

PROXY = "core.proxy_https=http://127.0.0.1:1"


def check_copied(member: Member) -> None:
    """An image is imported through ``member``, and all members have it."""
    member.init("c1")
    rows = member.sql("global", "SELECT count(*) AS copies FROM images_nodes")
    assert " 2 " in rows, rows


def test_import(cluster: Cluster, symptom: SymptomWatch) -> None:
    """An image is imported while a proxy is configured."""
    first = cluster.members[0]
    first.client("config", "set", PROXY)
    with symptom("the image is on all members"):
        check_copied(first)


@pytest.mark.role("workaround")
def test_import_with_exception(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The members' addresses are excepted from the proxy."""
    first = cluster.members[0]
    hosts = ",".join(member.address for member in cluster.members)
    first.client("config", "set", f"core.proxy_ignore_hosts={hosts}")
    first.client("config", "set", PROXY)
    with symptom("the image is on all members"):
        check_copied(first)
