"""A member that has a patch to apply must start while another one writes.

Upstream has no report of it: docs/findings/incus-upgrade-patch-locked.md.

When a member first starts with a version that has the patch ``db_json_columns``, it changes tables of the
cluster's database, outside of a transaction that would be retried. Everything else that a starting daemon
writes waits for its turn; where the patch meets another member's write, the daemon ends.

In an upgrade the other writes are those of members that start at the same moment, so that it is seen about
every second time (test_rolling_upgrade.py). Here the cluster is in use meanwhile: one row is written after
the other. As the builds of the catalogue offer no upgrade in which the other members can be used, the member
is put where it would be after one: its own record that the patch was applied is deleted. That the daemon
reports of this patch that the database is locked proves that it is this and no other failure.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch
from clusterproof.suites.upgrade.json_columns_patch import (
    PATCH,
    check_starts,
    forget_patch,
    in_use,
    knows_patch,
    restart,
    start_again,
)

pytestmark = [pytest.mark.documents("incus-patch-locked"), pytest.mark.members(2)]

# The patch falls between two writes in four starts out of ten, on some hosts in more.
STARTS = 30


def make_cluster(unjoined: Cluster) -> tuple[Member, Member]:
    """A cluster of two; return the member that is used and the one that will be started."""
    unjoined.form()
    unjoined.client().patch("", {"config": {"user.count": "0"}})
    used, starting = unjoined.members
    return used, starting


def test_other_member_used(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A member starts with the patch to apply while another one is used."""
    used, starting = make_cluster(unjoined)
    starts = STARTS if knows_patch(starting) else 1
    with in_use(used):
        for _ in range(starts):
            forget_patch(starting)
            with symptom("the member starts"):
                check_starts(starting)


@pytest.mark.role("control")
def test_nothing_to_apply(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A member that has applied the patch before starts while another one is used."""
    used, starting = make_cluster(unjoined)
    with in_use(used), symptom("the member starts"):
        check_starts(starting)


@pytest.mark.role("workaround")
def test_started_again(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A daemon that has given up is started again when nobody uses the cluster."""
    used, starting = make_cluster(unjoined)
    known = knows_patch(starting)
    forget_patch(starting)
    with in_use(used):
        error = restart(starting)
    assert not error or PATCH in error, error
    with symptom("the member starts"):
        start_again(starting)
        unjoined.wait_online()
    assert knows_patch(starting) == known
