"""A change that is refused must not change anything (canonical/lxd#18171, lxc/incus#2516).

PATCH /1.0 undoes what it did when something of it is refused, but it undid by replacing the whole
configuration with the keys of the request. For a key of the cluster that is invalid those are none of the
member's own, so that all of these were deleted, ``cluster.https_address`` with them: after the next restart
of its daemon the member is no member any more. PUT, which the command line sends, is not affected.

That the local database had keys before, and has lost them although the request was refused, proves the bug.
"""

import pytest

from clusterproof import ApiError, Cluster, Member, Shown, SymptomWatch, refused

pytestmark = [pytest.mark.documents("lxd-18171"), pytest.mark.members(1)]

INVALID = {"images.auto_update_interval": "never"}
BAD_REQUEST = 400


def local_config(member: Member) -> list[str]:
    """Return the member's own configuration as it is stored, a line for each key."""
    table = member.sql("local", "SELECT key, value FROM config ORDER BY key")
    return [line for line in table.splitlines() if "_address" in line]


def test_refused_patch(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A PATCH with an invalid value for a key of the cluster is refused."""
    member = cluster.members[0]
    before = local_config(member)
    assert any("cluster.https_address" in line for line in before), before
    with symptom("the member's own configuration is what it was"):
        refusal = refused(cluster.client().patch, "", {"config": INVALID})
        assert isinstance(refusal, ApiError)
        assert refusal.status == BAD_REQUEST, refusal
        if (after := local_config(member)) != before:
            raise Shown("own configuration lost by a refused change", before=before, after=after)
