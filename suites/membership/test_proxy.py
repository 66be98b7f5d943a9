"""A proxy in the daemon's environment must not be used for joining (canonical/lxd#16604, lxc/incus#2528).

A daemon that has HTTPS_PROXY in its environment asked that proxy for the cluster's members, too. Where the
proxy leads out of the network, as most do, it cannot reach them, and the daemon cannot join.

That the product reports that the proxy, at which nobody listens, refuses its connection proves the bug.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-16604"), pytest.mark.members(2)]

PROXY = "http://127.0.0.1:1"


def start_joiner(unjoined: Cluster, **environment: str) -> Member:
    """The first member is a cluster; the second's daemon runs with ``environment``."""
    first, joiner = unjoined.members
    unjoined.bootstrap(first)
    joiner.daemon.set_environment(**environment)
    joiner.daemon.start(wait=True)
    return joiner


def test_join(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A daemon whose environment names a proxy joins."""
    joiner = start_joiner(unjoined, HTTPS_PROXY=PROXY)
    with symptom("the daemon joins without the proxy"):
        unjoined.join(joiner)
        unjoined.wait_online()


@pytest.mark.role("workaround")
def test_join_with_exception(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The environment excepts the cluster's members from the proxy."""
    joiner = start_joiner(unjoined, HTTPS_PROXY=PROXY, NO_PROXY=unjoined.members[0].address)
    with symptom("the daemon joins without the proxy"):
        unjoined.join(joiner)
        unjoined.wait_online()
