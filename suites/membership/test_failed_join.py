"""A join that fails late must not leave the pools of the cluster mounted (lxc/incus#1636).

A joiner makes the pools and networks of the cluster first and asks to be accepted then. Where that
failed, Incus left what it had made. Whoever then removed the state folder to try again removed, through
the mount, what was in the pool: with CephFS, everything of every project. Since 6.0.4 a name that is
taken is refused before (incus-1680); whatever fails later still leaves the pools. LXD undoes them.

Two late failures are made: a joiner with an API extension more than the cluster, and one that cannot
write the certificate that it is given. That the product says so, and that a pool is then mounted, or the
file in its source gone, proves that it is this. The documented ways out keep the data: to unmount first,
or to let rm stay on one filesystem.
"""

import pytest

from clusterproof.fixtures import Ceph, Cluster, Member, SymptomWatch
from clusterproof.suites.membership import cephfs
from clusterproof.suites.membership.joining import (
    check_clean_up,
    check_data_kept,
    check_joins,
    check_nothing_mounted,
    join,
    make_cluster,
    mounted,
    remove_state,
    remove_with_data,
    seed,
)

pytestmark = [pytest.mark.documents("incus-1636"), pytest.mark.members(2)]


def fail_by_version(members: Cluster) -> Member:
    """The joiner has an API extension more than the cluster, which does not accept it."""
    _, joiner = make_cluster(members)
    joiner.daemon.set_environment(**{joiner.facts.bump_variable: "1"})
    joiner.daemon.restart()
    joiner.daemon.wait_ready()
    said = join(joiner, seed(joiner, cluster_token=members.token(joiner.name)))
    assert "version doesn't match" in said, said
    joiner.daemon.set_environment()
    return joiner


def fail_by_certificate(members: Cluster) -> Member:
    """The joiner is accepted, but something is where it has to write the cluster's certificate."""
    _, joiner = make_cluster(members)
    obstacle = f"{joiner.facts.state_dir}/cluster.crt"
    joiner.run(["mkdir", obstacle], check=True)
    said = join(joiner, seed(joiner, cluster_token=members.token(joiner.name)))
    assert "Failed to save cluster certificate" in said, said
    joiner.run(["rmdir", obstacle], check=True)
    return joiner


def test_version_differs(members: Cluster, symptom: SymptomWatch) -> None:
    """The cluster does not accept a joiner of another version, which can then join as it should."""
    joiner = fail_by_version(members)
    with symptom("the joiner has undone what it made, and can join"):
        check_nothing_mounted(joiner)
        joiner.daemon.stop()
        check_joins(members, joiner)


def test_certificate_not_written(members: Cluster, symptom: SymptomWatch) -> None:
    """A joiner cannot write the certificate; once it can, it joins."""
    joiner = fail_by_certificate(members)
    with symptom("the joiner has undone what it made, and can join"):
        check_nothing_mounted(joiner)
        check_joins(members, joiner)


def test_state_removed(members: Cluster, symptom: SymptomWatch) -> None:
    """After a failed join the state folder is removed, as for a new try."""
    joiner = fail_by_version(members)
    remove_with_data(joiner, "rm -rf {state}")
    with symptom("what is in the source of the pool is still there"):
        check_data_kept(joiner)


@pytest.mark.role("workaround")
def test_unmounted_first(members: Cluster, symptom: SymptomWatch) -> None:
    """The pools are unmounted before the state folder is removed; a second join works."""
    joiner = fail_by_version(members)
    remove_with_data(joiner, "umount {state}/storage-pools/*; rm -rf {state}")
    check_clean_up(members, joiner, symptom)


@pytest.mark.role("workaround")
def test_one_file_system(members: Cluster, symptom: SymptomWatch) -> None:
    """The state folder is removed without what other filesystems have below it; a second join works."""
    joiner = fail_by_version(members)
    remove_with_data(joiner, "rm -rf --one-file-system {state}")
    check_clean_up(members, joiner, symptom)


@pytest.mark.requires("cephfs")
def test_cephfs_left_mounted(members: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:  # noqa: ARG001
    """The report to the letter: the pool is CephFS, the join fails, and the service is stopped."""
    joiner = cephfs.fail_by_version(members)
    joiner.daemon.stop()
    with symptom("nothing of the cluster's pools is mounted"):
        left = mounted(joiner)
        assert not left, f"the failed join left mounted: {', '.join(left)}"


@pytest.mark.requires("cephfs")
def test_cephfs_state_removed(members: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:  # noqa: ARG001
    """After a failed join the state folder is removed; the pool holds a file of another project."""
    joiner = cephfs.fail_by_version(members)
    remove_state(joiner, f"rm -rf {joiner.facts.state_dir}")
    with symptom("what another project has stored in the pool is still there"):
        cephfs.check_data_kept(members)


@pytest.mark.role("workaround")
@pytest.mark.requires("cephfs")
def test_cephfs_unmounted_first(members: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:  # noqa: ARG001
    """The pool is unmounted before the state folder is removed; a second join works."""
    joiner = cephfs.fail_by_version(members)
    state = joiner.facts.state_dir
    remove_state(joiner, f"umount {state}/storage-pools/*; rm -rf --one-file-system {state}")
    with symptom("what another project has stored in the pool is still there"):
        cephfs.check_data_kept(members)
    with symptom("the joiner can join"):
        check_joins(members, joiner, cephfs.SOURCE)
        cephfs.check_data_kept(members)
