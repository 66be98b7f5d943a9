"""Evacuating an instance with a disk from a path of its host must not crash the daemon (canonical/lxd#17764).

Before it moves an instance, evacuate asks each of its devices whether that can be moved too. A disk asked
its storage pool, also where there is none because its source is a path of the host: a nil
pointer that ended the whole daemon, on a request that an administrator makes before a reboot.

That the stack trace of the panic, in the journal, names ``(*disk).CanMigrate`` proves that it is this crash.
With ``cluster.evacuate=stop`` no device is asked.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch, refused

pytestmark = [
    pytest.mark.documents("lxd-17764"),
    pytest.mark.members(1),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]


def launch_with_host_path(cluster: Cluster) -> Member:
    """A container c1 runs with /srv of its host in it."""
    member = cluster.members[0]
    member.launch("c1")
    member.client("config", "device", "add", "c1", "srv", "disk", "source=/srv", "path=/mnt/srv")
    assert member.client("exec", "c1", "--", "grep", "/mnt/srv", "/proc/mounts").ok
    return member


def check_evacuated(cluster: Cluster, member: Member) -> None:
    """Evacuate the member: its daemon survives and reports it as Evacuated, its container is stopped."""
    before = member.daemon.pid()
    refusal = refused(cluster.evacuate, member)
    assert member.daemon.pid() == before, refusal
    assert cluster.status_of(member) == "Evacuated", refusal
    assert cluster.instance("c1").status == "Stopped"


def test_evacuate(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member is evacuated that has a container with a disk from a path of the host."""
    member = launch_with_host_path(cluster)
    with symptom("the daemon evacuates its member and survives"):
        check_evacuated(cluster, member)


@pytest.mark.role("workaround")
def test_evacuate_by_stopping(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The instance is configured to be stopped, so nothing asks whether its disk can be moved."""
    member = launch_with_host_path(cluster)
    member.client("config", "set", "c1", "cluster.evacuate=stop")
    with symptom("the daemon evacuates its member and survives"):
        check_evacuated(cluster, member)
