"""Members must go on talking when the cluster's certificate has expired (lxc/incus#2498).

Members know each other's certificate: all serve the cluster's, of which each has a copy. They compared it,
but also required that it is valid at the moment. Once it has expired no member reaches another one, and the
certificate cannot be renewed either, because the new one is given to the members over those connections.

The cluster is given a certificate that has already expired, instead of waiting for one to do so. That one
member then reports of the other that its certificate has expired proves that it is this bug.
"""

from datetime import timedelta

import pytest

from clusterproof import Cluster, Member, SymptomWatch, cluster_certificate
from clusterproof.suites.certificates.renewing import body, renew, served

pytestmark = [pytest.mark.documents("incus-2498"), pytest.mark.members(2)]


def expire(cluster: Cluster) -> tuple[Member, Member]:
    """The certificate of the cluster expired a minute ago; return its two members."""
    first, second = cluster.members
    first.client("query", f"/1.0?target={second.name}")
    expired = cluster_certificate(first.name, first.address, lasts=timedelta(minutes=-1))
    error = renew(first, expired)
    assert not error, error
    assert served(first) == served(second) == body(expired[0])
    return first, second


def test_members_talk(cluster: Cluster, symptom: SymptomWatch) -> None:
    """One member asks another one."""
    first, second = expire(cluster)
    with symptom("members reach each other"):
        first.client("query", f"/1.0?target={second.name}")


def test_renew(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The certificate is renewed once it has expired."""
    first, second = expire(cluster)
    valid = cluster_certificate(first.name, first.address)
    with symptom("the certificate is renewed"):
        error = renew(first, valid)
        assert not error, error
        assert served(first) == served(second) == body(valid[0])
