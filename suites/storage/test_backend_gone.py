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

from fixtures import (
    TINY_IMAGE,
    ApiError,
    Cluster,
    CommandError,
    CommandTimeoutError,
    Member,
    SymptomWatch,
    eventually,
)

pytestmark = [pytest.mark.documents("backend-gone"), pytest.mark.members(2)]

SOURCE = "/srv/other"


def use_other_pool(cluster: Cluster) -> Member:
    """c1 runs on the pool "local"; the pool "other", on a filesystem of its own, is in use by c2."""
    first, _ = cluster.members
    for member in cluster.members:
        member.run(f"mkdir {SOURCE} && mount -t tmpfs tmpfs {SOURCE}", check=True)
        first.client("storage", "create", "other", "dir", f"source={SOURCE}", "--target", member.name)
    first.client("storage", "create", "other", "dir")
    first.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    first.client("launch", "tiny", "c1", "--target", first.name)
    stay = ["--config", "cluster.evacuate=stop"]
    first.client("launch", "tiny", "c2", "--storage", "other", "--target", first.name, *stay)
    first.client("stop", "c2", "--force")
    assert state(cluster) == [first.name, "Running"]
    return first


def take_backend(member: Member) -> None:
    """The filesystem with the source of the pool goes away, as a disk or a server does."""
    pool = f"{member.facts.state_dir}/storage-pools/other"
    member.run(
        f"if mountpoint -q {pool}; then umount {pool}; fi; umount {SOURCE}; rmdir {SOURCE}", check=True
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


def test_pool_deleted(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool was used and is deleted; then its backend goes."""
    first = use_other_pool(cluster)
    first.client("delete", "c2")
    first.client("storage", "delete", "other")
    for member in cluster.members:
        take_backend(member)
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)


def test_pool_without_backend(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The other pool and its instance are still there when its backend goes."""
    first = use_other_pool(cluster)
    take_backend(first)
    with symptom("an instance on another pool lives on"):
        check_lives_on(cluster)
