"""A member that joins must apply the cluster's configuration (canonical/lxd#12347).

A daemon keeps the cluster's configuration in memory. One that joined went on with what it had before, an
empty one: proxy, authentication, image servers and so on were not used on it until its daemon was restarted,
or something of the configuration was changed.

That the database has the key, while the member that joined does not report it, proves the bug.
"""

import json

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch

pytestmark = [pytest.mark.documents("lxd-12347"), pytest.mark.members(2)]

KEY, VALUE = "user.kept", "yes"


def join(unjoined: Cluster) -> Member:
    """The second member joins a cluster that has a configuration."""
    first, second = unjoined.members
    unjoined.bootstrap(first)
    first.client("config", "set", f"{KEY}={VALUE}")
    assert applied(first)
    unjoined.join(second)
    unjoined.wait_online()
    return second


def applied(member: Member) -> bool:
    """Say whether ``member`` reports the cluster's configuration."""
    config = json.loads(member.client("query", "/1.0").stdout)["config"]
    return bool(config.get(KEY) == VALUE)


def check_applied(member: Member) -> None:
    """The member reports the configuration that the database has."""
    stored = member.sql("global", f"SELECT value FROM config WHERE key = '{KEY}'")
    assert VALUE in stored
    if not applied(member):
        raise Shown("cluster's configuration not applied by a new member", key=KEY)


def test_join(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The member has just joined."""
    member = join(unjoined)
    with symptom("the new member has the cluster's configuration"):
        check_applied(member)


@pytest.mark.role("workaround")
def test_join_and_restart(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The member's daemon is restarted after it has joined."""
    member = join(unjoined)
    member.daemon.restart(wait=True)
    with symptom("the new member has the cluster's configuration"):
        check_applied(member)
