"""One instance that cannot start must not keep its member evacuated (canonical/lxd#15218).

A virtual machine had a local volume, ``instances.migration.stateful`` was set afterwards, and a volume
like that is refused when the VM starts. Evacuating only stopped it; ``cluster restore`` then gave up at the
first instance that did not start and left the member Evacuated. By design it still does. The fix is a
second mode, ``cluster restore --action=skip``, which brings the member back without its instances.

Any instance that cannot start shows it, on any build: here a container whose device is missing, in
test_restore_blocked_vm.py a VM. Both modes are tried, as an operator would; a build without the second one
takes it for the default. That the product names the instance it failed to start, and that the member is
then still Evacuated, proves that this instance is what blocks it.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch
from clusterproof.suites.evacuation.restoring import (
    check_back_with,
    check_back_without,
    evacuate,
    restore,
)

pytestmark = [
    pytest.mark.documents("lxd-15218"),
    pytest.mark.members(1),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]

GONE = ["unix-char", "source=/dev/clusterproof-gone", "path=/dev/gone"]


def evacuate_container(cluster: Cluster) -> Member:
    """The member is evacuated, its one container c1 is stopped and still on it."""
    member = cluster.members[0]
    member.launch("c1", "--config", "cluster.evacuate=stop")
    evacuate(cluster, member, "c1")
    return member


def test_container_that_cannot_start(cluster: Cluster, symptom: SymptomWatch) -> None:
    """While the member is evacuated the container gets a device that is missing; the member is restored."""
    member = evacuate_container(cluster)
    member.client("config", "device", "add", "c1", "gone", *GONE)
    with symptom("the member comes back, though not its container"):
        check_back_without(cluster, member, "c1")


@pytest.mark.role("workaround")
def test_container_made_startable(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The default mode fails; the device that is missing is removed; the default mode works."""
    member = evacuate_container(cluster)
    member.client("config", "device", "add", "c1", "gone", *GONE)
    assert "Failed to start instance" in restore(cluster, member, "")
    member.client("config", "device", "remove", "c1", "gone")
    with symptom("the member comes back with its container"):
        check_back_with(cluster, member, "c1")


@pytest.mark.role("control")
def test_container_that_can_start(cluster: Cluster, symptom: SymptomWatch) -> None:
    """Nothing keeps the container from starting; the member is restored."""
    member = evacuate_container(cluster)
    with symptom("the member comes back with its container"):
        check_back_with(cluster, member, "c1")
