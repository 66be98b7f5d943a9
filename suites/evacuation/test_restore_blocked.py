"""One instance that cannot start must not keep its member evacuated (canonical/lxd#15218).

A virtual machine had a local volume, ``instances.migration.stateful`` was set afterwards, and a volume
like that is refused when the machine starts. Evacuating only stopped it; ``cluster restore`` then gave up
at the first instance that did not start and left the member Evacuated. By design it still does. The fix
is a way out, ``cluster restore --action=skip``, which brings the member back without its instances.

Any instance that cannot start shows it, on any build: here a container whose device, or a virtual machine
whose volume, has gone while its member was evacuated. Both modes are tried, as an operator would; a build
without the second one takes it for the default. That the product says which instance it failed to start,
and that the member is then still Evacuated, proves that this instance is what blocks it.
"""

import pytest

from clusterproof.fixtures import TINY_IMAGE, ApiError, Cluster, Member, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("lxd-15218"), pytest.mark.members(1)]

GONE = ["unix-char", "source=/dev/clusterproof-gone", "path=/dev/gone"]


def evacuate_container(cluster: Cluster) -> Member:
    """The member is evacuated, its one container c1 is stopped and still on it."""
    member = cluster.members[0]
    member.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    member.client("launch", "tiny", "c1", "--config", "cluster.evacuate=stop")
    evacuate(cluster, member, "c1")
    return member


def evacuate(cluster: Cluster, member: Member, name: str) -> None:
    """Evacuate the member on which the instance ``name`` runs, which is thereby stopped."""
    assert status(cluster, name) == "Running"
    cluster.evacuate(member)
    assert cluster.statuses() == {member.name: "Evacuated"}
    assert status(cluster, name) == "Stopped"


def status(cluster: Cluster, name: str) -> str:
    """Return the status of the instance ``name``."""
    found: str = cluster.client().get(f"instances/{name}")["status"]
    return found


def restore(cluster: Cluster, member: Member, *modes: str) -> str:
    """Restore in each of ``modes`` until one succeeds; return what the product said to the others."""
    said = []
    for mode in modes:
        try:
            cluster.restore(member, mode)
            break
        except ApiError as error:
            said.append(f"{mode or 'default'} mode: {error}")
    return "; ".join(said)


def check_back_without(cluster: Cluster, member: Member, name: str) -> None:
    """One of the ways to restore brings the member back; the instance ``name`` stays stopped."""
    said = restore(cluster, member, "", "skip")
    assert cluster.statuses()[member.name] == "Online", said
    assert status(cluster, name) == "Stopped"


def check_back_with(cluster: Cluster, member: Member, name: str) -> None:
    """The default way to restore brings back the member and the instance ``name``."""
    said = restore(cluster, member, "")
    assert cluster.statuses()[member.name] == "Online", said
    eventually(lambda: status(cluster, name), lambda seen: seen == "Running", what=f"{name} runs")


def test_container_that_cannot_start(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A container's device goes while the member is evacuated; the member is restored."""
    member = evacuate_container(cluster)
    member.client("config", "device", "add", "c1", "gone", *GONE)
    with symptom("the member comes back, though not its container"):
        check_back_without(cluster, member, "c1")


@pytest.mark.role("workaround")
def test_container_made_startable(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The default mode fails; what keeps the container from starting is taken away; it works again."""
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


def evacuate_vm(cluster: Cluster, content: str) -> Member:
    """The member is evacuated, its one virtual machine v1 is stopped; v1 has a local volume of ``content``."""
    member = cluster.members[0]
    member.init_vm("v1", "--config=cluster.evacuate=stop", "--config=boot.host_shutdown_timeout=1")
    member.client("storage", "volume", "create", "local", "data", f"--type={content}", "size=16MiB")
    path = [] if content == "block" else ["path=/data"]
    member.client("config", "device", "add", "v1", "data", "disk", "pool=local", "source=data", *path)
    member.client("start", "v1", timeout=120)
    evacuate(cluster, member, "v1")
    return member


def volume(member: Member) -> str:
    """Where the member keeps the local volume."""
    return f"{member.facts.state_dir}/storage-pools/local/custom/default_data"


@pytest.mark.requires("vm-instances")
def test_vm_without_its_block_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A virtual machine cannot start, for its local block volume is gone; the member is restored."""
    member = evacuate_vm(cluster, "block")
    member.run(["mv", f"{volume(member)}/root.img", f"{volume(member)}/away"], check=True)
    with symptom("the member comes back, though not its virtual machine"):
        check_back_without(cluster, member, "v1")


@pytest.mark.requires("vm-instances")
def test_vm_without_its_filesystem_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The same with a local filesystem volume: something else is where volumes were."""
    member = evacuate_vm(cluster, "filesystem")
    volumes = volume(member).rpartition("/")[0]
    # A folder that is only missing would be made again.
    member.run(f"mv {volumes} {volumes}.away && touch {volumes}", check=True)
    with symptom("the member comes back, though not its virtual machine"):
        check_back_without(cluster, member, "v1")


@pytest.mark.role("workaround")
@pytest.mark.requires("vm-instances")
def test_vm_made_startable(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The default mode fails; the virtual machine gets its volume again; it works again."""
    member = evacuate_vm(cluster, "block")
    member.run(["mv", f"{volume(member)}/root.img", f"{volume(member)}/away"], check=True)
    assert "Failed to start instance" in restore(cluster, member, "")
    member.run(["mv", f"{volume(member)}/away", f"{volume(member)}/root.img"], check=True)
    with symptom("the member comes back with its virtual machine"):
        check_back_with(cluster, member, "v1")


def evacuate_vm_with_local_volume(cluster: Cluster) -> Member:
    """The reported state: a machine with a local volume, then the key for all of them, then evacuate."""
    member = cluster.members[0]
    member.init_vm("v1", "--device=root,size.state=512MiB")
    member.client("storage", "volume", "create", "local", "data", "--type", "block", "size=16MiB")
    member.client("storage", "volume", "attach", "local", "data", "v1", "data")
    member.client("start", "v1", timeout=120)
    cluster.client(member).patch("", {"config": {"instances.migration.stateful": "true"}})
    evacuate(cluster, member, "v1")
    return member


@pytest.mark.requires("vm-instances")
@pytest.mark.applies_to("extension:instances_migration_stateful")
def test_vm_with_local_volume(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The report to the letter: a virtual machine whose local volume is refused at its start."""
    member = evacuate_vm_with_local_volume(cluster)
    with symptom("the member comes back, though not its virtual machine"):
        check_back_without(cluster, member, "v1")


@pytest.mark.role("workaround")
@pytest.mark.requires("vm-instances")
@pytest.mark.applies_to("extension:instances_migration_stateful")
def test_vm_with_own_key(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The documented way out on the instance: ``migration.stateful=false``."""
    member = evacuate_vm_with_local_volume(cluster)
    assert "migration.stateful=true" in restore(cluster, member, "")
    member.client("config", "set", "v1", "migration.stateful=false")
    with symptom("the member comes back with its virtual machine"):
        check_back_with(cluster, member, "v1")
