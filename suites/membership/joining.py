"""A join that does not succeed, of a cluster with a pool whose data is on another filesystem.

A ``dir`` pool with a source of its own stands for CephFS: its folder in the product's state folder is a
mount of the source, here of another filesystem. It is made from an empty source only, so the file whose
loss would hurt is put there after the join and not before.
"""

import json

from clusterproof import PORT, Cluster, Member, Shown, refused

SOURCE = "/srv/data"


def make_cluster(unjoined: Cluster) -> tuple[Member, Member]:
    """A cluster of the first member with the pool "data"; the second, which will join, has a source, too."""
    first, joiner = unjoined.members
    for member in (first, joiner):
        member.run(f"mkdir {SOURCE} && mount -t tmpfs tmpfs {SOURCE}", check=True)
    unjoined.bootstrap(first)
    first.client("storage", "create", "data", "dir", f"source={SOURCE}", "--target", first.name)
    first.client("storage", "create", "data", "dir")
    assert mounted(first), "the pool is not a mount"
    # Ready before anything is put in its way that a start would meet, too.
    joiner.daemon.start(wait=True)
    assert not mounted(joiner)
    return first, joiner


def preseed(joiner: Member, source: str = SOURCE, **more: str) -> str:
    """Return the preseed with which ``joiner`` joins; ``more`` are keys of its cluster section."""
    key = {"entity": "storage-pool", "name": "data", "key": "source", "value": source}
    cluster = {
        "enabled": True,
        "server_name": joiner.name,
        "server_address": f"{joiner.address}:{PORT}",
        "member_config": [key],
    }
    return json.dumps({"cluster": cluster | more})


def join(unjoined: Cluster, joiner: Member, source: str = SOURCE) -> str:
    """Let ``joiner`` join with a token; return the product's error, nothing where it succeeds."""
    return init(joiner, preseed(joiner, source, cluster_token=unjoined.token(joiner.name)))


def init(joiner: Member, given: str) -> str:
    """Run ``init`` with the preseed ``given``; return the product's error, nothing where it succeeds."""
    argv = [*joiner.facts.admin, "init", "--preseed"]
    refusal = refused(joiner.run, argv, stdin=given, timeout=90, check=True)
    return str(refusal or "")


def mounted(member: Member) -> list[str]:
    """Return what is mounted below the folder of the storage pools: device, path and filesystem of each."""
    pools = f"{member.facts.state_dir}/storage-pools/"
    mounts = member.mounts()
    return [f"{one.device} {one.path} {one.filesystem}" for one in mounts if one.path.startswith(pools)]


def check_nothing_mounted(joiner: Member) -> None:
    """The daemon of ``joiner`` answers, and no pool of the cluster is mounted."""
    joiner.client("query", "/1.0")
    check_unmounted(joiner)


def check_unmounted(joiner: Member) -> None:
    """No pool of the cluster is mounted on ``joiner``."""
    left = mounted(joiner)
    pool = f" {joiner.facts.state_dir}/storage-pools/data "
    if any(pool in mount for mount in left):
        raise Shown("pool of the cluster left mounted", mounted=left)
    assert not left


def check_joins(unjoined: Cluster, joiner: Member, source: str = SOURCE) -> None:
    """Start the daemon of ``joiner`` and let it join as it should have at first."""
    joiner.daemon.start(wait=True)
    error = join(unjoined, joiner, source)
    assert not error, f"the second join: {error}"
    unjoined.wait_online()
    assert mounted(joiner), "the pool is not there after the second join"
