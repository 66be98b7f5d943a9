"""A member that was offline when the cluster's certificate was renewed must come back.

Upstream has no report: docs/findings/incus-renewed-cut-off.md. Since lxc/incus#3717 a certificate can be renewed
for the same key while a member is offline, which is to fetch it "on startup". It does so once its database is
open. Before that members connect to each other, and each takes no other certificate than its own.

That the members that were there serve the new certificate, that the one that was not still has the old one, and
that its daemon does not get ready, proves that it is this. With the certificate put there by hand it does.
"""

import pytest

from clusterproof import Cluster, Member, NotObservedError, Shown, SymptomWatch
from clusterproof.suites.certificates.renewing import body, made_anew, renew, served, take_offline

pytestmark = pytest.mark.documents("incus-renewed-cut-off")

READY = 180.0


def renew_without(cluster: Cluster, member: Member) -> str:
    """Renew the certificate while ``member`` is offline; return the one that the first member then has."""
    first = cluster.members[0]
    new = made_anew(first)
    take_offline(cluster, member)
    renew(first, new)
    return first.read(f"{first.facts.state_dir}/cluster.crt").decode()


def check_returns(member: Member, certificate: str) -> None:
    """The daemon of ``member`` gets ready again."""
    member.daemon.start()
    try:
        member.daemon.wait_ready(within=READY)
    except NotObservedError as late:
        own = member.read(f"{member.facts.state_dir}/cluster.crt").decode()
        if body(own) == body(certificate) or not member.daemon.pid():
            raise
        raise Shown("member with the old certificate does not get ready", waited=READY) from late


def test_renewed(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The member was offline while the certificate was renewed, or its renewal was refused."""
    first, _, third = cluster.members
    certificate = renew_without(cluster, third)
    with symptom("the member comes back"):
        assert served(first) == body(certificate)
        check_returns(third, certificate)


@pytest.mark.role("workaround")
def test_certificate_copied(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The new certificate is copied to the member before its daemon starts."""
    third = cluster.members[2]
    certificate = renew_without(cluster, third)
    third.write(f"{third.facts.state_dir}/cluster.crt", certificate)
    with symptom("the member comes back"):
        check_returns(third, certificate)
