"""A join that fails late must not leave the pools of the cluster mounted (lxc/incus#1636).

A joiner first makes the pools and networks of the cluster and then asks to be accepted. Where that
failed, Incus left what it had made. Whoever then removed the state folder to try again removed, through
the mount, what was in the pool: with CephFS, everything of every project. Since 6.0.4 a name that is
taken is refused earlier (incus-1680); any later failure still leaves the pools. LXD undoes them.

Two late failures are provoked: a joiner with an API extension more than the cluster, and one that cannot
write the certificate that it is given. That the product reports just this, and that a pool is then mounted,
or the file in its source gone, proves that it is this bug. The documented ways out keep the data: to unmount
first, or to let rm stay on one filesystem. test_failed_join_cephfs.py has the report's own kind of pool.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch
from clusterproof.suites.membership.joining import check_joins, check_nothing_mounted, join, make_cluster
from clusterproof.suites.membership.state_folder import check_clean_up, check_data_kept, remove_with_data

pytestmark = [pytest.mark.documents("incus-1636"), pytest.mark.members(2)]


def fail_by_version(unjoined: Cluster) -> Member:
    """The joiner has an API extension more than the cluster, which does not accept it."""
    _, joiner = make_cluster(unjoined)
    joiner.daemon.set_environment(**{joiner.facts.bump_variable: "1"})
    joiner.daemon.restart(wait=True)
    error = join(unjoined, joiner)
    assert "version doesn't match" in error, error
    joiner.daemon.set_environment()
    return joiner


def fail_by_certificate(unjoined: Cluster) -> Member:
    """The joiner is accepted, but a folder is where it has to write the cluster's certificate."""
    _, joiner = make_cluster(unjoined)
    obstacle = f"{joiner.facts.state_dir}/cluster.crt"
    joiner.run(["mkdir", obstacle], check=True)
    error = join(unjoined, joiner)
    assert "Failed to save cluster certificate" in error, error
    joiner.run(["rmdir", obstacle], check=True)
    return joiner


def test_version_differs(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The cluster does not accept a joiner of another version, which can join once it has the same."""
    joiner = fail_by_version(unjoined)
    with symptom("the joiner has undone what it made, and can join"):
        check_nothing_mounted(joiner)
        joiner.daemon.stop()
        check_joins(unjoined, joiner)


def test_certificate_not_written(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A joiner cannot write the certificate; once it can, it joins."""
    joiner = fail_by_certificate(unjoined)
    with symptom("the joiner has undone what it made, and can join"):
        check_nothing_mounted(joiner)
        check_joins(unjoined, joiner)


def test_state_removed(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """After a failed join the state folder is removed, as for a new try."""
    joiner = fail_by_version(unjoined)
    remove_with_data(joiner, "rm -rf {state}")
    with symptom("what is in the source of the pool is still there"):
        check_data_kept(joiner)


@pytest.mark.role("workaround")
def test_unmounted_first(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The pools are unmounted before the state folder is removed; a second join works."""
    joiner = fail_by_version(unjoined)
    remove_with_data(joiner, "umount {state}/storage-pools/*; rm -rf {state}")
    check_clean_up(unjoined, joiner, symptom)


@pytest.mark.role("workaround")
def test_one_file_system(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The state folder is removed without what other filesystems have below it; a second join works."""
    joiner = fail_by_version(unjoined)
    remove_with_data(joiner, "rm -rf --one-file-system {state}")
    check_clean_up(unjoined, joiner, symptom)
