"""The cluster's certificate can be renewed while a member is offline (lxc/incus#3716).

A new certificate was given to all members in turn, and where one did not answer, all was undone: a dead member
kept the certificate from being renewed. Since the fix, offline members are left out, as long as the
key stays the same; what becomes of them is the matter of incus-renewed-cut-off.

That the refusal names the address of the member that is offline, and that the member that was asked still serves
the old certificate, proves that it is this bug. LXD 5.0.2 even leaves the second member with the new one.
"""

import pytest

from clusterproof import Cluster, Shown, SymptomWatch
from clusterproof.suites.certificates.renewing import body, made_anew, renew, served, take_offline

pytestmark = [pytest.mark.documents("incus-3716")]


def test_renew(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The certificate is renewed for the same key while the third member is offline."""
    first, second, third = cluster.members
    new, old = made_anew(first), served(first)
    take_offline(cluster, third)
    with symptom("the members that are there have the new certificate"):
        error = renew(first, new)
        if third.address in error and served(first) == old:
            others = "old" if served(second) == old else "new"
            raise Shown("certificate not renewed for an offline member", error=error, second_has=others)
        assert not error, error
        assert served(first) == served(second) == body(new[0])
