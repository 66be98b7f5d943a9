"""The certificate by which a cluster knows a member must not be deleted (canonical/lxd#15554).

The list of trusted certificates has those of the clients and, as type "server", those of the members. All
could be deleted alike. The cluster then refuses the member, which answers requests but cannot reach the
database. LXD has refused that since 6.4; a member's certificate goes when the member is removed.

That the cluster listed the member's certificate and trusted it, and after the deletion calls the member
untrusted, proves the bug. A certificate that is put back makes it trusted again, which proves that the
check can tell.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch, refused
from clusterproof.suites.certificates.member_trust import auth, server_certificate

pytestmark = [pytest.mark.documents("lxd-15554"), pytest.mark.members(2)]


def check_trusted(cluster: Cluster) -> None:
    """The first member trusts the second one."""
    first, second = cluster.members
    if (seen := auth(second, first)) == "untrusted":
        raise Shown("member no longer trusted by its cluster", member=second.name, auth=seen)
    assert seen == "trusted"


def test_delete(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The certificate of a member is deleted."""
    first, second = cluster.members
    entry = server_certificate(cluster, second)
    assert auth(second, first) == "trusted"
    with symptom("the member stays trusted"):
        refusal = refused(cluster.client().delete, f"certificates/{entry['fingerprint']}")
        check_trusted(cluster)
        assert refusal, "the request was accepted"


@pytest.mark.role("workaround")
def test_put_back(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The certificate of a member is deleted and added again."""
    entry = server_certificate(cluster, cluster.members[1])
    refused(cluster.client().delete, f"certificates/{entry['fingerprint']}")
    lines = entry["certificate"].strip().splitlines()[1:-1]
    body = {"name": entry["name"], "type": "server", "certificate": "".join(lines)}
    refused(cluster.client().post, "certificates", body)
    with symptom("the member is trusted again"):
        check_trusted(cluster)
