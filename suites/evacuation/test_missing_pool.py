"""An evacuated member must not start its instances when a pool comes back (lxc/incus commit 6b3a2bf770).

A daemon that starts on an evacuated member starts no instances. Where a pool could not be mounted at that
time, the daemon tries again every minute, and starts the instances once it succeeds: there nobody asked
whether the member was evacuated. Instances run on a machine that is being worked on.

That the container ran nowhere after the daemon's start, and runs once the other pool is there, while the
member is Evacuated, proves the bug.
"""

import pytest

from clusterproof import Cluster, Member, NotObservedError, Shown, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("incus-evacuated-start"), pytest.mark.members(1)]

SOURCE, AWAY = "/srv/p2", "/srv/away"


def evacuate_without_pool(cluster: Cluster) -> Member:
    """c1, on "local", is evacuated by stopping it; the pool p2 was missing when the daemon started again."""
    member = cluster.members[0]
    member.run(["mkdir", SOURCE], check=True)
    member.client("storage", "create", "p2", "dir", f"source={SOURCE}", "--target", member.name)
    member.client("storage", "create", "p2", "dir")
    member.launch("c1", "--config", "cluster.evacuate=stop")
    cluster.evacuate(member)
    assert cluster.instance("c1").status == "Stopped"
    member.daemon.stop()
    member.run(["umount", f"{member.facts.state_dir}/storage-pools/p2"], beside_daemon=True)
    member.run(["mv", SOURCE, AWAY], check=True)
    member.daemon.start(wait=True)
    eventually(lambda: pool_status(cluster), lambda seen: seen == "Unavailable", within=60)
    assert cluster.instance("c1").status == "Stopped"
    return member


def pool_status(cluster: Cluster) -> str:
    """Return the status of p2 on the member."""
    member = cluster.members[0].name
    found: str = cluster.client().get("storage-pools/p2", target=member)["status"]
    return found


def test_pool_comes_back(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The pool comes back while the member is evacuated."""
    member = evacuate_without_pool(cluster)
    with symptom("c1 stays stopped until the member is restored"):
        member.run(["mv", AWAY, SOURCE], check=True)
        eventually(lambda: pool_status(cluster), lambda seen: seen == "Created", within=180, every=1)
        try:
            # Instances are started right after the pool is mounted.
            eventually(lambda: cluster.instance("c1").status, lambda seen: seen == "Running", within=20)
        except NotObservedError:
            assert cluster.statuses()[member.name] == "Evacuated"
        else:
            raise Shown("evacuated member started an instance", member=cluster.statuses()[member.name])
