"""Instances keep running while the daemon is away.

The documentation of both products (daemon-behavior.md) says that on SIGTERM the daemon closes all
connections and exits cleanly while the instances keep running, and that on its start it takes up those that
run. A daemon that was killed leaves them alone, too. A container that was started a second time would have
another first process.
"""

import pytest

from clusterproof import Cluster, Member, SymptomWatch, eventually

pytestmark = [pytest.mark.documents("instances-keep-running"), pytest.mark.members(1)]


def first_process(member: Member) -> str:
    """Return the process id of c1's first process, and when it was started."""
    state = member.client("query", "/1.0/instances/c1/state").stdout
    pid = state.partition('"pid": ')[2].partition(",")[0]
    return member.run(f"cut -d ' ' -f 1,22 /proc/{pid}/stat", check=True).stdout


def launch(cluster: Cluster) -> tuple[Member, str]:
    """c1 runs; return the member and c1's first process."""
    member = cluster.members[0]
    member.launch("c1")
    assert cluster.instance("c1").status == "Running"
    return member, first_process(member)


def check_kept(cluster: Cluster, before: str) -> None:
    """Once the daemon is back, c1 is Running, as the same process, and obeys."""
    member = cluster.members[0]
    member.daemon.start(wait=True)
    cluster.wait_running("c1", within=60)
    assert first_process(member) == before
    member.client("exec", "c1", "--", "true")


def test_terminate(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The daemon gets SIGTERM."""
    member, before = launch(cluster)
    pid = member.daemon.pid()
    with symptom("the daemon ends and the container keeps running"):
        # The main process of a snap's unit is a script.
        member.run(f"kill -TERM {pid}", check=True)
        eventually(member.daemon.pid, lambda seen: seen != pid, within=120)
        check_kept(cluster, before)


def test_kill(cluster: Cluster, symptom: SymptomWatch) -> None:
    """The daemon is killed."""
    member, before = launch(cluster)
    member.daemon.kill()
    with symptom("the container keeps running"):
        check_kept(cluster, before)
