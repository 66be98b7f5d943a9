"""The metrics must be served with the certificate that the server has now (canonical/lxd commit e53753e32d).

When a server becomes a cluster member, or the cluster's certificate is renewed, all listeners change to the
new certificate. That of the metrics, at an address of its own, was left out: Prometheus, which is given the
cluster's certificate, could not read the metrics until the daemon was restarted.

That the API is served with the cluster's certificate, and the metrics with another one, proves the bug.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch
from clusterproof.suites.certificates.renewing import body, served

pytestmark = [pytest.mark.documents("lxd-metrics-certificate"), pytest.mark.members(1)]

METRICS = 9100


def enable_cluster(unjoined: Cluster) -> Member:
    """A standalone server that serves its metrics at an address of their own becomes a cluster member."""
    member = unjoined.members[0]
    unjoined.set_up(member)
    member.client("config", "set", f"core.metrics_address={member.address}:{METRICS}")
    assert served(member) == served(member, METRICS)
    member.client("cluster", "enable", member.name)
    assert served(member) == body(member.read(f"{member.facts.state_dir}/cluster.crt").decode())
    return member


def check_metrics(member: Member) -> None:
    """The metrics are served with the certificate of the API."""
    api, metrics = served(member), served(member, METRICS)
    if api != metrics:
        raise Shown("metrics served with another certificate", api=api[-16:], metrics=metrics[-16:])


def test_enable(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The server becomes a cluster member."""
    member = enable_cluster(unjoined)
    with symptom("the metrics are served with the cluster's certificate"):
        check_metrics(member)
