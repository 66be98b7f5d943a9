"""What the scenarios about failed joins share: a pool whose data is elsewhere, a join, what it leaves.

A ``dir`` pool with a source of its own stands for CephFS: its folder in the product's state folder is a
mount of the source, here of another filesystem. It is made from an empty source only, so the file whose
loss would hurt is put there after the join and not before.
"""

import json

from clusterproof.fixtures import Cluster, Member, SymptomWatch

SOURCE = "/srv/data"
FILE = "precious"
PORT = 8443


def make_cluster(members: Cluster) -> tuple[Member, Member]:
    """A cluster of the first member with the pool "data"; the second, to join it, has a source, too."""
    first, joiner = members.members
    for member in (first, joiner):
        member.run(f"mkdir {SOURCE} && mount -t tmpfs tmpfs {SOURCE}", check=True)
    members.bootstrap(first)
    first.client("storage", "create", "data", "dir", f"source={SOURCE}", "--target", first.name)
    first.client("storage", "create", "data", "dir")
    assert mounted(first), "the pool is not a mount"
    # Ready before anything is put in its way that a start would meet, too.
    joiner.daemon.start()
    joiner.daemon.wait_ready()
    assert not mounted(joiner)
    return first, joiner


def seed(joiner: Member, source: str = SOURCE, **more: str) -> str:
    """Return the preseed with which ``joiner`` joins; ``more`` are keys of its cluster section."""
    key = {"entity": "storage-pool", "name": "data", "key": "source", "value": source}
    cluster = {
        "enabled": True,
        "server_name": joiner.name,
        "server_address": f"{joiner.address}:{PORT}",
        "member_config": [key],
    }
    return json.dumps({"cluster": cluster | more})


def join(joiner: Member, preseed: str) -> str:
    """Let ``joiner`` join; return the product's words where that fails, nothing where it succeeds."""
    done = joiner.run([*joiner.facts.admin, "init", "--preseed"], stdin=preseed, timeout=90)
    return "" if done.ok else done.stderr.strip() or f"ended with {done.rc}"


def mounted(member: Member) -> list[str]:
    """What is mounted below the folder of the storage pools of ``member``."""
    mounts = member.run(["cat", "/proc/mounts"], check=True).stdout.splitlines()
    return [line for line in mounts if f" {member.facts.state_dir}/storage-pools/" in line]


def check_nothing_mounted(joiner: Member) -> None:
    """The daemon of ``joiner`` answers, and has no pool of the cluster any more."""
    joiner.client("query", "/1.0")
    left = mounted(joiner)
    assert not left, f"the failed join left mounted: {', '.join(left)}"


def remove_state(joiner: Member, commands: str) -> None:
    """Remove what the product keeps, to try again from nothing; it cannot remove what is a mount."""
    joiner.daemon.stop()
    joiner.run(commands)
    left = joiner.run(f"ls {joiner.facts.state_dir}").stdout.split()
    assert not {"database", "server.crt"} & set(left), f"not removed: {left}"


def remove_with_data(joiner: Member, commands: str) -> None:
    """Put a file into the source of the pool, then remove the state folder, in commands ``{state}``."""
    joiner.run(["touch", f"{SOURCE}/{FILE}"], check=True)
    remove_state(joiner, commands.format(state=joiner.facts.state_dir))


def check_data_kept(joiner: Member) -> None:
    """The file in the source of the pool is still there."""
    found = joiner.run(["ls", "-A", SOURCE], check=True).stdout.split()
    assert FILE in found, f"removing the state folder emptied {SOURCE}"


def check_joins(members: Cluster, joiner: Member, source: str = SOURCE) -> None:
    """Start the daemon of ``joiner`` and let it join as it should have at first."""
    joiner.daemon.start()
    joiner.daemon.wait_ready()
    said = join(joiner, seed(joiner, source, cluster_token=members.token(joiner.name)))
    assert not said, f"the second join: {said}"
    members.wait_online()
    assert mounted(joiner), "the pool is not there after the second join"


def empty_source(joiner: Member) -> None:
    """Take everything away that a new pool would refuse: its mount, its folder and what is in the source."""
    pool = f"{joiner.facts.state_dir}/storage-pools/data"
    joiner.run(f"umount {pool}; rmdir {pool}; find {SOURCE} -mindepth 1 -delete")
    assert not mounted(joiner)


def check_clean_up(members: Cluster, joiner: Member, symptom: SymptomWatch) -> None:
    """The state folder was removed with care: the data were kept, and a second join works."""
    with symptom("what is in the source of the pool is still there"):
        check_data_kept(joiner)
    empty_source(joiner)
    with symptom("the joiner can join"):
        check_joins(members, joiner)
