"""A downgrade inside a long-term support channel must not break the cluster (canonical/lxd#15313).

At start LXD compared its own number of API extensions with those that the others had left in the
``nodes`` table, and refused to start when it had fewer: after 5.21.3 -> 5.21.2 the socket of the member
was dead and the others lost its heartbeat, for good, also when all had gone back. Since the fix only the
schema of the database counts with Incus, and with LXD a member waits until the others have gone back, too.

The number can be raised by an environment variable, so that a single build can be "downgraded" by one
extension; where the catalogue has two builds with one schema, the real downgrade is made too. That the
log of the member reports that its version is behind proves that it is this refusal and no other failure.
"""

import pytest

from clusterproof import Cluster, Image, SymptomWatch
from clusterproof.suites.upgrade.downgrading import (
    check_back,
    downgrade_by_one_extension,
    restart_all_with_one_more_extension,
    times_waited,
)

pytestmark = pytest.mark.documents("lxd-15313")


def test_one_extension_less(cluster: Cluster, symptom: SymptomWatch) -> None:
    """A member comes back with one API extension less than before."""
    restart_all_with_one_more_extension(cluster)
    downgraded = cluster.members[-1]
    waited = times_waited(downgraded)
    downgrade_by_one_extension(downgraded)
    with symptom("the downgraded member comes back"):
        check_back(cluster, downgraded, downgrade_by_one_extension, waited)


@pytest.mark.downgrade
@pytest.mark.applies_to("same-schema")
def test_previous_build(cluster: Cluster, image: Image, symptom: SymptomWatch) -> None:
    """A member comes back with the build before its own, which has the same database schema."""
    downgraded = cluster.members[-1]
    cluster.upgrade(downgraded, image)
    with symptom("the downgraded member comes back"):
        check_back(cluster, downgraded, lambda member: cluster.upgrade(member, image))


@pytest.mark.role("workaround")
def test_repaired_by_patch_file(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The documented repair brings back a cluster whose members have all been downgraded."""
    extensions = len(cluster.client().get("")["api_extensions"])
    restart_all_with_one_more_extension(cluster)
    for member in cluster.members:
        member.daemon.stop()
    for member in cluster.members:
        member.daemon.set_environment()
        member.write(member.facts.patch_file, f"UPDATE nodes SET api_extensions={extensions};\n")
    for member in cluster.members:
        member.daemon.start()
    with symptom("the repaired cluster comes back"):
        cluster.wait_online()
        for member in cluster.members:
            member.daemon.wait_ready()
