"""An instance is where it was told to be, whichever member is asked.

Upstream documents two ways to say on which member an instance is: a target when it is made, and a move
to a target later. Every member answers for the whole cluster, so each has to tell the same, and what is
in the instance has to come along.

Empty containers that are never started are enough for that, in a project of their own: harmless also on a
cluster that is in use.
"""

import pytest

from clusterproof.fixtures import SymptomWatch, Tenant

pytestmark = [pytest.mark.documents("placed-where-told"), pytest.mark.harmless]

SNAPSHOT = "from-before-the-move"


def whereabouts(tenant: Tenant, instance: str) -> dict[str, str]:
    """Return where ``instance`` is, as each member that can be asked tells it."""
    return {asked: tenant.api(asked).get(f"instances/{instance}")["location"] for asked in tenant.asked}


def snapshots(tenant: Tenant) -> list[str]:
    """Return the names of c1's snapshots."""
    found = tenant.api().get("instances/c1/snapshots")
    return [url.rpartition("/")[2].partition("?")[0] for url in found]


def test_made_on_target(tenant: Tenant, symptom: SymptomWatch) -> None:
    """A container is made on each member in turn."""
    for number, member in enumerate(tenant.members[:4]):
        name = f"c{number}"
        tenant.create(name, member)
        with symptom(f"everybody finds {name} on {member}"):
            assert set(whereabouts(tenant, name).values()) == {member}


def test_moved_to_target(tenant: Tenant, symptom: SymptomWatch) -> None:
    """A container with a snapshot is moved from one member to another."""
    if len(tenant.members) == 1:
        pytest.skip("there is no other member to move to")
    first, other, *_ = tenant.members
    tenant.create("c1", first)
    tenant.api().post("instances/c1/snapshots", {"name": SNAPSHOT}, timeout=60)
    assert snapshots(tenant) == [SNAPSHOT]
    tenant.api().post("instances/c1", {"name": "c1", "migration": True}, target=other, timeout=60)
    with symptom(f"everybody finds c1 on {other}, with its snapshot"):
        assert set(whereabouts(tenant, "c1").values()) == {other}
        assert snapshots(tenant) == [SNAPSHOT]


@pytest.mark.role("injection")
def test_moved_elsewhere(tenant: Tenant, symptom: SymptomWatch) -> None:
    """Somebody moves a container away from where it was told to be: how the symptom would look."""
    if len(tenant.members) == 1:
        pytest.skip("there is no other member to move to")
    first, other, *_ = tenant.members
    tenant.create("c1", first)
    tenant.api().post("instances/c1", {"name": "c1", "migration": True}, target=other, timeout=60)
    with symptom(f"everybody finds c1 on {first}"):
        assert set(whereabouts(tenant, "c1").values()) == {first}
