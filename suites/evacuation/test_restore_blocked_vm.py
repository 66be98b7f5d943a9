"""A VM that cannot start must not keep its member evacuated (canonical/lxd#15218).

The report's own case, a local volume that is refused because ``instances.migration.stateful`` was set
later, and two that work on every build: a local volume that is lost while the member is evacuated. The
documented ways out are to make the VM startable, by giving the volume back or by ``migration.stateful``.
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
    pytest.mark.requires("vm-instances"),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]


def evacuate_vm(cluster: Cluster, content: str) -> Member:
    """The member is evacuated, its one VM v1 is stopped; v1 has a local volume of type ``content``."""
    member = cluster.members[0]
    member.init_vm("v1", "--config=cluster.evacuate=stop", "--config=boot.host_shutdown_timeout=1")
    member.client("storage", "volume", "create", "local", "data", f"--type={content}", "size=16MiB")
    path = [] if content == "block" else ["path=/data"]
    member.client("config", "device", "add", "v1", "data", "disk", "pool=local", "source=data", *path)
    member.client("start", "v1", timeout=120)
    evacuate(cluster, member, "v1")
    return member


def evacuate_vm_with_local_volume(cluster: Cluster) -> Member:
    """The reported state: a VM with a local volume, then the server's key for all VMs, then evacuate."""
    member = cluster.members[0]
    member.init_vm("v1", "--device=root,size.state=512MiB")
    member.client("storage", "volume", "create", "local", "data", "--type", "block", "size=16MiB")
    member.client("storage", "volume", "attach", "local", "data", "v1", "data")
    member.client("start", "v1", timeout=120)
    cluster.client(member).patch("", {"config": {"instances.migration.stateful": "true"}})
    evacuate(cluster, member, "v1")
    return member


def volume(member: Member) -> str:
    """Where the member keeps the local volume."""
    return f"{member.facts.state_dir}/storage-pools/local/custom/default_data"


def test_vm_without_its_block_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A VM cannot start because its local block volume is lost; the member is restored."""
    member = evacuate_vm(cluster, "block")
    member.run(["mv", f"{volume(member)}/root.img", f"{volume(member)}/away"], check=True)
    with symptom("the member comes back, though not its VM"):
        check_back_without(cluster, member, "v1")


def test_vm_without_its_filesystem_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The same with a local filesystem volume, whose folder is replaced by a file."""
    member = evacuate_vm(cluster, "filesystem")
    volumes = volume(member).rpartition("/")[0]
    # A folder that is only missing would be made again.
    member.run(f"mv {volumes} {volumes}.away && touch {volumes}", check=True)
    with symptom("the member comes back, though not its VM"):
        check_back_without(cluster, member, "v1")


@pytest.mark.role("workaround")
def test_vm_made_startable(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The default mode fails; the VM gets its volume back; the default mode works."""
    member = evacuate_vm(cluster, "block")
    member.run(["mv", f"{volume(member)}/root.img", f"{volume(member)}/away"], check=True)
    assert "Failed to start instance" in restore(cluster, member, "")
    member.run(["mv", f"{volume(member)}/away", f"{volume(member)}/root.img"], check=True)
    with symptom("the member comes back with its VM"):
        check_back_with(cluster, member, "v1")


@pytest.mark.applies_to("extension:instances_migration_stateful")
def test_vm_with_local_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The report to the letter: a VM whose local volume is refused at its start."""
    member = evacuate_vm_with_local_volume(cluster)
    with symptom("the member comes back, though not its VM"):
        check_back_without(cluster, member, "v1")


@pytest.mark.role("workaround")
@pytest.mark.applies_to("extension:instances_migration_stateful")
def test_vm_with_own_key(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The documented way out on the instance: ``migration.stateful=false``."""
    member = evacuate_vm_with_local_volume(cluster)
    assert "migration.stateful=true" in restore(cluster, member, "")
    member.client("config", "set", "v1", "migration.stateful=false")
    with symptom("the member comes back with its VM"):
        check_back_with(cluster, member, "v1")
