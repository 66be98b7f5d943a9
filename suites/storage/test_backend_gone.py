"""Instances live on when the storage of another pool is gone (apache/cloudstack#10465).

On CloudStack a removed primary storage whose controller was stopped kept every virtual machine of the
host from stopping, those on other storage too: the agent still asked each driver that it had loaded. LXD
and Incus are to hold the promise that they do not: an instance on the pool "local" starts, runs commands,
stops, moves away when its member is evacuated, comes back and is deleted, after another pool was deleted
together with its backend, and while the backend of a pool that still exists is down.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from clusterproof.fixtures import (
    TINY_IMAGE,
    ApiError,
    Ceph,
    Cluster,
    CommandError,
    CommandTimeoutError,
    Member,
    SymptomWatch,
    eventually,
)

pytestmark = [pytest.mark.documents("backend-gone"), pytest.mark.members(2)]

SOURCE = "/srv/other"


def use_other_pool(cluster: Cluster, driver: str) -> Member:
    """c1 runs on the pool "local"; the pool "other", with storage of its own, is in use by c2.

    The storage is a filesystem that the pool is a folder of (driver dir), a file behind a loop device
    (driver btrfs), or a pool of the fixture ``ceph``.
    """
    first = cluster.members[0]
    own = {"dir": [f"source={SOURCE}"], "btrfs": ["size=256MiB"], "ceph": ["source=rbd-pool"]}[driver]
    for member in cluster.members:
        if driver == "dir":
            member.run(f"mkdir {SOURCE} && mount -t tmpfs tmpfs {SOURCE}", check=True)
        first.client("storage", "create", "other", driver, *own, "--target", member.name)
    first.client("storage", "create", "other", driver, timeout=60)
    first.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    first.client("launch", "tiny", "c1", "--target", first.name)
    stay = ["--config", "cluster.evacuate=stop"]
    first.client("init", "tiny", "c2", "--storage", "other", "--target", first.name, *stay, timeout=60)
    assert state(cluster) == [first.name, "Running"]
    return first


def take_backend(member: Member) -> None:
    """The storage of the pool goes away, as a disk or a server does."""
    pool = f"{member.facts.state_dir}/storage-pools/other"
    file = f"{member.facts.state_dir}/disks/other.img"
    member.run(
        f"if mountpoint -q {pool}; then umount {pool}; fi; "
        f"if mountpoint -q {SOURCE}; then umount {SOURCE} && rmdir {SOURCE}; fi; rm -f {file}",
        check=True,
    )
    assert "/other " not in member.run(["cat", "/proc/mounts"], check=True).stdout


def state(cluster: Cluster) -> list[str]:
    """Return on which member c1 is, and its status."""
    found = cluster.client().get("instances/c1")
    return [found["location"], found["status"]]


@contextmanager
def trying(what: str) -> Iterator[None]:
    """Make a refusal of the product, or its silence, a promise that is broken."""
    try:
        yield
    except (ApiError, CommandError, CommandTimeoutError) as error:
        raise AssertionError(f"{what}: {error}") from error


def check_lives_on(cluster: Cluster) -> None:
    """c1 runs commands, stops, starts, is moved away by evacuating, comes back and is deleted."""
    first, second = cluster.members
    with trying("exec, stop and start"):
        first.client("exec", "c1", "--", "true")
        first.client("stop", "c1", "--force")
        assert state(cluster) == [first.name, "Stopped"]
        first.client("start", "c1")
        first.client("exec", "c1", "--", "true")
    with trying("evacuate and restore"):
        cluster.evacuate(first)
        assert state(cluster) == [second.name, "Running"]
        cluster.restore(first)
        back = [first.name, "Running"]
        eventually(lambda: state(cluster), lambda now: now == back, what="c1 is back")
    with trying("delete"):
        first.client("delete", "c1", "--force")
    assert "/1.0/instances/c1" not in cluster.client().get("instances")


def delete_other_pool(cluster: Cluster) -> None:
    """The other pool is deleted."""
    first = cluster.members[0]
    first.client("delete", "c2")
    first.client("storage", "delete", "other", timeout=60)


def take_backends(cluster: Cluster) -> None:
    """The storage of the pool goes away on every member."""
    for member in cluster.members:
        take_backend(member)


def test_pool_deleted(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool was used and is deleted; then its filesystem goes."""
    use_other_pool(cluster, "dir")
    delete_other_pool(cluster)
    take_backends(cluster)
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


def test_pool_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool and its instance are still there when its filesystem goes."""
    first = use_other_pool(cluster, "dir")
    take_backend(first)
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


@pytest.mark.requires("loop-devices")
def test_loop_pool_deleted(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The same with a pool on a loop device."""
    use_other_pool(cluster, "btrfs")
    delete_other_pool(cluster)
    take_backends(cluster)
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


@pytest.mark.requires("loop-devices")
def test_loop_pool_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The pool on a loop device and its instance are still there when the device is detached."""
    first = use_other_pool(cluster, "btrfs")
    take_backend(first)
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


@pytest.mark.requires("loop-devices")
def test_restarted_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The daemon is restarted while the loop device of the other pool is gone."""
    first = use_other_pool(cluster, "btrfs")
    take_backend(first)
    first.daemon.restart()
    with symptom("the daemon starts, and an instance on another pool lives on"):
        first.daemon.wait_ready()
        cluster.wait_online()
        check_lives_on(cluster)


@pytest.mark.requires("ceph-rbd")
def test_ceph_pool_deleted(cluster: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:
    """The same with a pool on Ceph, which is stopped."""
    use_other_pool(cluster, "ceph")
    delete_other_pool(cluster)
    ceph.stop()
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


@pytest.mark.requires("ceph-rbd")
def test_ceph_pool_without_backend(cluster: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:
    """The pool on Ceph and its instance are still there when Ceph goes down."""
    use_other_pool(cluster, "ceph")
    ceph.stop()
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


@pytest.mark.role("injection")
def test_depends_on_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """An instance that does suffer, for it has a volume on the other pool: how the symptom would look."""
    first = use_other_pool(cluster, "dir")
    first.client("storage", "volume", "create", "other", "v1", "--target", first.name)
    first.client("storage", "volume", "attach", "other", "v1", "c1", "v1", "/mnt")
    first.client("stop", "c1", "--force")
    take_backend(first)
    with symptom("an instance on another pool lives on"):
        with trying("start"):
            first.client("start", "c1")
        check_lives_on(cluster)
