"""Instances keep working when the Ceph cluster of another pool is down (apache/cloudstack#10465).

test_backend_gone.py has the promise and its origin.
"""

import pytest

from clusterproof import Ceph, Cluster, SymptomWatch
from clusterproof.suites.storage.other_pool import check_usable, delete_other_pool, use_other_pool

pytestmark = [
    pytest.mark.documents("backend-gone"),
    pytest.mark.members(2),
    pytest.mark.requires("ceph-rbd"),
    pytest.mark.applies_to("extension:clustering_evacuation"),
]


def test_ceph_pool_deleted(cluster: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:
    """The pool on Ceph was used and is deleted; then Ceph goes down."""
    use_other_pool(cluster, "ceph")
    delete_other_pool(cluster)
    ceph.stop()
    with symptom("an instance on another pool is usable"):
        check_usable(cluster)


def test_ceph_pool_without_backend(cluster: Cluster, ceph: Ceph, symptom: SymptomWatch) -> None:
    """The pool on Ceph and its instance are still there when Ceph goes down."""
    use_other_pool(cluster, "ceph")
    ceph.stop()
    with symptom("an instance on another pool is usable"):
        check_usable(cluster)
