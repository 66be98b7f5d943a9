"""A daemon killed in the middle of a join must not leave the pools of the cluster mounted (lxc/incus#1636).

What a joiner undoes when its join fails, it cannot undo when it is killed, and after the next start it
does not know that there was a join: the pool of the cluster is now one of its own, and mounted.

A named pipe where the cluster's certificate has to be written holds the join after the cluster accepted
the member and before it is one. That the cluster lists the member as pending, and that the pool is mounted
after the next start, proves that it is this. The way out is that of every failed join: unmount, then remove
the state folder. The cluster replaces the pending member when the joiner comes again.
"""

import shlex

import pytest

from clusterproof import Cluster, Member, SymptomWatch, eventually
from clusterproof.suites.membership.joining import check_nothing_mounted, make_cluster, preseed
from clusterproof.suites.membership.state_folder import check_clean_up, remove_with_data

pytestmark = [pytest.mark.documents("killed-join"), pytest.mark.members(2)]

PENDING = "SELECT name FROM nodes WHERE state = 1"


def kill_in_join(unjoined: Cluster) -> Member:
    """The daemon of the joiner is killed after the cluster has accepted it, and started again."""
    first, joiner = make_cluster(unjoined)
    pipe = f"{joiner.facts.state_dir}/cluster.crt"
    joiner.run(["mkfifo", pipe], check=True)
    given = preseed(joiner, cluster_token=unjoined.token(joiner.name))
    init = shlex.join([*joiner.facts.admin, "init", "--preseed"])
    joiner.run(f"exec 4<&0; {init} <&4 >/dev/null 2>&1 &", stdin=given, check=True)
    eventually(
        lambda: first.sql("global", PENDING),
        lambda pending: joiner.name in pending,
        within=120,
        what=f"{joiner.name} is accepted",
    )
    joiner.daemon.kill()
    joiner.run(["rm", pipe], check=True)
    joiner.daemon.start(wait=True)
    return joiner


def test_killed(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The joiner's daemon is killed in the middle of the join and started again."""
    joiner = kill_in_join(unjoined)
    with symptom("the joiner has nothing of the cluster"):
        check_nothing_mounted(joiner)


@pytest.mark.role("workaround")
def test_cleaned_up(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The pool is unmounted and the state folder removed; a second join works."""
    joiner = kill_in_join(unjoined)
    remove_with_data(joiner, "umount {state}/storage-pools/*; rm -rf {state}")
    check_clean_up(unjoined, joiner, symptom)
