"""A restricted client must not make its certificate that of a server (CVE-2026-34179, GHSA-c3h3-89qf-jqm5).

A restricted client may replace its own certificate. What kind of certificate it is could be changed with it:
one of type "server" is trusted as a member of the cluster is, without any restriction. Upstream's test of
the fix is repeated here: the client asks for the type, and an administrator looks at what it is.

No build of the catalogue has the bug, so that the symptom is also brought about in the database.
"""

import pytest

from clusterproof import Api, Cluster, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-17936"), pytest.mark.members(1)]

# How the database knows the type (db/cluster/certificates.go).
CLIENT, SERVER = 1, 2


def restricted_client(cluster: Cluster) -> tuple[Api, str]:
    """Return the API for a client that may use the project default only, and its fingerprint."""
    restricted = cluster.restricted_client("default")
    assert restricted.get("projects") == ["/1.0/projects/default"]
    found = {entry["fingerprint"]: entry for entry in cluster.client().get("certificates", recursion=1)}
    (fingerprint,) = [key for key, entry in found.items() if entry["restricted"]]
    return restricted, fingerprint


def check_client(cluster: Cluster, fingerprint: str) -> None:
    """The certificate is still a restricted client's."""
    seen = cluster.client().get(f"certificates/{fingerprint}")
    if seen["type"] == "server":
        raise Shown("restricted client turned into a server", type=seen["type"], name=seen["name"])
    assert seen["type"] == "client"
    assert seen["restricted"]


def test_change_type(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A restricted client asks for its own certificate to be a server's."""
    restricted, fingerprint = restricted_client(cluster)
    with symptom("the certificate stays a restricted client's"):
        refusal = refused(restricted.patch, f"certificates/{fingerprint}", {"type": "server"})
        check_client(cluster, fingerprint)
        assert refusal, "the request was accepted"


@pytest.mark.role("injection")
def test_type_changed(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The type is changed in the database, as the request would have."""
    _, fingerprint = restricted_client(cluster)
    cluster.members[0].sql(
        "global", f"UPDATE certificates SET type = {SERVER} WHERE type = {CLIENT} AND restricted = 1"
    )
    with symptom("the certificate stays a restricted client's"):
        check_client(cluster, fingerprint)
