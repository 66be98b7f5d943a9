"""A cluster with a container c1 on the pool "local", and a second pool "other" whose storage can be lost."""

from collections.abc import Iterator
from contextlib import contextmanager

from clusterproof import (
    ApiError,
    Cluster,
    CommandError,
    CommandTimeoutError,
    Instance,
    Member,
    eventually,
)

SOURCE = "/srv/other"
# The pool's storage, by driver: a filesystem of its own, a file behind a loop device, a pool of the fixture
# ``ceph``.
STORAGE = {"dir": f"source={SOURCE}", "btrfs": "size=256MiB", "ceph": "source=rbd-pool"}


def use_other_pool(cluster: Cluster, driver: str) -> Member:
    """On the first member, which is returned, c1 runs on "local" and c2 is on "other"."""
    first = cluster.members[0]
    for member in cluster.members:
        if driver == "dir":
            member.run(f"mkdir {SOURCE} && mount -t tmpfs tmpfs {SOURCE}", check=True)
        first.client("storage", "create", "other", driver, STORAGE[driver], "--target", member.name)
    first.client("storage", "create", "other", driver, timeout=60)
    first.launch("c1", "--target", first.name)
    stay = ["--config", "cluster.evacuate=stop"]
    first.init("c2", "--storage", "other", "--target", first.name, *stay, timeout=60)
    assert cluster.instance("c1") == Instance(first.name, "Running")
    return first


def delete_other_pool(cluster: Cluster) -> None:
    """Delete c2 and the pool "other"."""
    first = cluster.members[0]
    first.client("delete", "c2")
    first.client("storage", "delete", "other", timeout=60)


def take_storage(member: Member) -> None:
    """Take the storage of "other" away from ``member``, as when a disk fails."""
    pool = f"{member.facts.state_dir}/storage-pools/other"
    file = f"{member.facts.state_dir}/disks/other.img"
    member.run(f"if mountpoint -q {pool}; then umount {pool}; fi", check=True, beside_daemon=True)
    member.run(
        f"if mountpoint -q {SOURCE}; then umount {SOURCE} && rmdir {SOURCE}; fi; rm -f {file}", check=True
    )
    assert not [mount for mount in member.mounts() if mount.path.endswith("/other")]


@contextmanager
def trying(what: str) -> Iterator[None]:
    """Make a refusal of the product, or its silence, a failed check of the promise."""
    try:
        yield
    except (ApiError, CommandError, CommandTimeoutError) as error:
        raise AssertionError(f"{what}: {error}") from error


def check_usable(cluster: Cluster) -> None:
    """c1 runs commands, stops, starts, is moved away by evacuating, comes back and is deleted."""
    first, second = cluster.members
    with trying("exec, stop and start"):
        first.client("exec", "c1", "--", "true")
        first.client("stop", "c1", "--force")
        assert cluster.instance("c1") == Instance(first.name, "Stopped")
        first.client("start", "c1")
        first.client("exec", "c1", "--", "true")
    with trying("evacuate and restore"):
        cluster.evacuate(first)
        assert cluster.instance("c1") == Instance(second.name, "Running")
        cluster.restore(first)
        back = Instance(first.name, "Running")
        eventually(lambda: cluster.instance("c1"), lambda now: now == back, within=60, what="c1 is back")
    with trying("delete"):
        first.client("delete", "c1", "--force")
    assert "/1.0/instances/c1" not in cluster.client().get("instances")
