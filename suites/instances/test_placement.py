"""An instance is on the member it was placed on or moved to, whichever member is asked.

Upstream documents two ways to choose an instance's member: a target when it is created, and a move to a
target later. Every member answers for the whole cluster, so all have to report the same location, and the
instance's snapshots have to come along.

Empty containers that are never started are enough for that, in a project of their own: harmless also on a
cluster that is in use.
"""

import pytest

from clusterproof import SymptomWatch, Tenant

pytestmark = [pytest.mark.documents("placed-where-told"), pytest.mark.harmless]

SNAPSHOT = "from-before-the-move"


def locations(tenant: Tenant, instance: str) -> dict[str, str]:
    """Return the location of ``instance`` that each member reports, by the member asked."""
    return {asked: tenant.api(asked).get(f"instances/{instance}")["location"] for asked in tenant.asked}


def snapshots(tenant: Tenant) -> list[str]:
    """Return the names of c1's snapshots."""
    found = tenant.api().get("instances/c1/snapshots")
    return [url.rpartition("/")[2].partition("?")[0] for url in found]


def test_made_on_target(tenant: Tenant, symptom: SymptomWatch) -> None:
    """A container is created on each member in turn."""
    for number, member in enumerate(tenant.members[:4]):
        name = f"c{number}"
        tenant.create(name, member)
        with symptom(f"every member finds {name} on {member}"):
            assert set(locations(tenant, name).values()) == {member}


def test_moved_to_target(tenant: Tenant, symptom: SymptomWatch) -> None:
    """A container with a snapshot is moved from one member to another."""
    if len(tenant.members) == 1:
        pytest.skip("there is no other member to move to")
    first, other, *_ = tenant.members
    tenant.create("c1", first)
    tenant.api().post("instances/c1/snapshots", {"name": SNAPSHOT}, timeout=60)
    assert snapshots(tenant) == [SNAPSHOT]
    tenant.api().post("instances/c1", {"name": "c1", "migration": True}, target=other, timeout=60)
    with symptom(f"every member finds c1 on {other}, with its snapshot"):
        assert set(locations(tenant, "c1").values()) == {other}
        assert snapshots(tenant) == [SNAPSHOT]


@pytest.mark.role("injection")
def test_moved_elsewhere(tenant: Tenant, symptom: SymptomWatch) -> None:
    """A container is moved away from where it was placed, to show what the symptom looks like."""
    if len(tenant.members) == 1:
        pytest.skip("there is no other member to move to")
    first, other, *_ = tenant.members
    tenant.create("c1", first)
    tenant.api().post("instances/c1", {"name": "c1", "migration": True}, target=other, timeout=60)
    with symptom(f"every member finds c1 on {first}"):
        assert set(locations(tenant, "c1").values()) == {first}
