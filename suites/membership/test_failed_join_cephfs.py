"""A join that fails late must not leave CephFS mounted (lxc/incus#1636), the report to the letter.

The pool "data" is CephFS, in which another project keeps a file. test_failed_join.py explains the bug; here
the joiner is refused because it has an API extension more than the cluster.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch
from clusterproof.suites.membership.joining import check_joins, check_unmounted, join, mounted
from clusterproof.suites.membership.state_folder import FILE, remove_state

pytestmark = [
    pytest.mark.documents("incus-1636"),
    pytest.mark.members(2),
    pytest.mark.requires("cephfs"),
    pytest.mark.usefixtures("ceph"),
]

# The file system of the fixture ``ceph``.
SOURCE = "lab"
PROJECT, VOLUME = "accounts", "ledgers"


def fail_by_version(unjoined: Cluster) -> Member:
    """The joiner has an API extension more than the cluster, which does not accept it."""
    first, joiner = unjoined.members
    unjoined.bootstrap(first)
    first.client("storage", "create", "data", "cephfs", f"source={SOURCE}", "--target", first.name, timeout=60)
    first.client("storage", "create", "data", "cephfs", timeout=60)
    first.client("project", "create", PROJECT)
    first.client("storage", "volume", "create", "data", VOLUME, "--project", PROJECT)
    first.run(["touch", stored(first)], check=True)
    joiner.daemon.set_environment(**{joiner.facts.bump_variable: "1"})
    joiner.daemon.start(wait=True)
    assert not mounted(joiner)
    error = join(unjoined, joiner, SOURCE)
    assert "version doesn't match" in error, error
    joiner.daemon.set_environment()
    return joiner


def stored(member: Member) -> str:
    """Where ``member`` has the other project's file."""
    return f"{member.facts.state_dir}/storage-pools/data/custom/{PROJECT}_{VOLUME}/{FILE}"


def check_data_kept(unjoined: Cluster) -> None:
    """The other project's file is still there, as the member that was in the cluster before sees it."""
    path = stored(unjoined.members[0])
    if not unjoined.members[0].inspect.file(path).exists:
        raise Shown("data removed with the state folder", file=path)


def test_cephfs_left_mounted(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The join fails, and the service is stopped."""
    joiner = fail_by_version(unjoined)
    joiner.daemon.stop()
    with symptom("nothing of the cluster's pools is mounted"):
        check_unmounted(joiner)


def test_cephfs_state_removed(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """After a failed join the state folder is removed."""
    joiner = fail_by_version(unjoined)
    remove_state(joiner, f"rm -rf {joiner.facts.state_dir}")
    with symptom("what another project has stored in the pool is still there"):
        check_data_kept(unjoined)


@pytest.mark.role("workaround")
def test_cephfs_unmounted_first(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The pool is unmounted before the state folder is removed; a second join works."""
    joiner = fail_by_version(unjoined)
    state = joiner.facts.state_dir
    remove_state(joiner, f"umount {state}/storage-pools/*; rm -rf --one-file-system {state}")
    with symptom("what another project has stored in the pool is still there"):
        check_data_kept(unjoined)
    with symptom("the joiner can join"):
        check_joins(unjoined, joiner, SOURCE)
        check_data_kept(unjoined)
