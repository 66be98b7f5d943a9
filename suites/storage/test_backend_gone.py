"""Instances keep working when the storage of another pool is gone (apache/cloudstack#10465).

On CloudStack a removed primary storage whose controller was stopped kept every VM of the host from
stopping, those on other storage too: the agent still asked each driver that it had loaded. LXD and Incus
are held to the promise that they do not: an instance on the pool "local" starts, runs commands, stops, moves
away when its member is evacuated, comes back and is deleted, after another pool was deleted together with
its storage, and while the storage of a pool that still exists is gone.

Here that storage is a filesystem or a loop device; test_backend_gone_ceph.py has Ceph.
"""

import pytest

from clusterproof import Cluster, SymptomWatch
from clusterproof.suites.storage.other_pool import (
    check_usable,
    delete_other_pool,
    take_storage,
    trying,
    use_other_pool,
)

pytestmark = [
    pytest.mark.documents("backend-gone"),
    pytest.mark.members(2),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]


def check_after_deleting(cluster: Cluster, driver: str, symptom: SymptomWatch) -> None:
    """The other pool was used and is deleted; then its storage is taken away from every member."""
    use_other_pool(cluster, driver)
    delete_other_pool(cluster)
    for member in cluster.members:
        take_storage(member)
    with symptom("an instance on another pool is usable"):
        check_usable(cluster)


def test_pool_deleted(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool is deleted; then its filesystem is unmounted."""
    check_after_deleting(cluster, "dir", symptom)


def test_pool_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool and its instance are still there when its filesystem is unmounted."""
    take_storage(use_other_pool(cluster, "dir"))
    with symptom("an instance on another pool is usable"):
        check_usable(cluster)


@pytest.mark.requires("loop-devices")
def test_loop_pool_deleted(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool is deleted; then the file behind its loop device is removed."""
    check_after_deleting(cluster, "btrfs", symptom)


@pytest.mark.requires("loop-devices")
def test_loop_pool_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The pool on a loop device and its instance are still there when the device is detached."""
    take_storage(use_other_pool(cluster, "btrfs"))
    with symptom("an instance on another pool is usable"):
        check_usable(cluster)


@pytest.mark.requires("loop-devices")
def test_restarted_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The daemon is restarted while the loop device of the other pool is gone."""
    first = use_other_pool(cluster, "btrfs")
    take_storage(first)
    first.daemon.restart()
    with symptom("the daemon starts, and an instance on another pool is usable"):
        first.daemon.wait_ready()
        cluster.wait_online()
        check_usable(cluster)


@pytest.mark.role("injection")
def test_depends_on_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The instance does depend on the other pool, by a volume: this is what the symptom looks like."""
    first = use_other_pool(cluster, "dir")
    first.client("storage", "volume", "create", "other", "v1", "--target", first.name)
    first.client("storage", "volume", "attach", "other", "v1", "c1", "v1", "/mnt")
    first.client("stop", "c1", "--force")
    take_storage(first)
    with symptom("an instance on another pool is usable"):
        with trying("start"):
            first.client("start", "c1")
        check_usable(cluster)
