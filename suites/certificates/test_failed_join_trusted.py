"""A machine that could not join must not stay trusted (canonical/lxd#18617).

A joiner first makes the cluster trust its certificate, as that of a member, and then asks to be accepted.
Where that is refused, the certificate stays: a machine that is no member may do what a member may, and it
cannot join under another name either.

The joiner has an API extension more than the cluster, which therefore refuses it. That it was untrusted
before, is trusted afterwards, and is not among the members, proves the bug. The way out is to remove the
certificate.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch, eventually, refused
from clusterproof.suites.certificates.member_trust import auth, server_certificate

pytestmark = [pytest.mark.documents("lxd-18617"), pytest.mark.members(2)]


def fail_to_join(unjoined: Cluster) -> tuple[Member, Member]:
    """The second machine is refused by the cluster of the first; return both."""
    first, joiner = unjoined.members
    unjoined.bootstrap(first)
    joiner.daemon.set_environment(**{joiner.facts.bump_variable: "1"})
    joiner.daemon.start(wait=True)
    assert auth(joiner, first) == "untrusted"
    refusal = refused(unjoined.join, joiner)
    assert "version doesn't match" in str(refusal), refusal
    return first, joiner


def check_untrusted(unjoined: Cluster) -> None:
    """The joiner is no member, and the cluster does not trust it."""
    first, joiner = unjoined.members
    members = unjoined.statuses()
    assert joiner.name not in members
    if (seen := auth(joiner, first)) == "trusted":
        raise Shown("trusted without being a member", auth=seen, members=list(members))
    assert seen == "untrusted"


def test_refused(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The cluster refuses a joiner."""
    fail_to_join(unjoined)
    with symptom("the machine that could not join is not trusted"):
        check_untrusted(unjoined)


@pytest.mark.role("workaround")
def test_certificate_removed(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The certificate of the joiner is removed by hand."""
    first, joiner = fail_to_join(unjoined)
    fingerprint = server_certificate(unjoined, joiner)["fingerprint"]
    unjoined.client().delete(f"certificates/{fingerprint}")
    eventually(lambda: auth(joiner, first), lambda seen: seen == "untrusted")
    with symptom("the machine that could not join is not trusted"):
        check_untrusted(unjoined)
