"""The log folder of a running instance must not be deleted (canonical/lxd#14791).

The daily log expiry kept the server state it was given when the daemon started. On a server that became
a cluster member later, that state still calls the server "none": the list of its instances comes back
empty, and the folder of every running instance is treated as that of an unknown one, which is removed once
nothing in it has changed for a day. After a restart of the daemon the same expiry is harmless.

A folder that really belongs to no instance shows that the expiry has run: it goes through the names in
order, and that one is the last. The documented ways out are in test_log_folder_ways_out.py.
"""

import pytest

from clusterproof import Cluster, Member, Shown, SymptomWatch
from clusterproof.suites.instances.log_expiry import (
    EARLIER_LINE,
    age,
    check_kept,
    enable,
    join,
    log_files,
    wait_for_expiry,
)

pytestmark = pytest.mark.documents("lxd-14791")


def use(member: Member) -> list[str]:
    """Exec into c1, attach to its console for two seconds, read its log; return what does not work."""
    client = member.facts.client
    run = member.client("exec", "c1", "--", "true", check=False)
    attach = f"timeout --signal=KILL 2 script --command '{client} console c1' /dev/null; true"
    console = member.run(attach).stdout
    log = member.client("info", "c1", "--show-log").stdout
    return [
        *([] if run.ok else [f"exec: {run.stderr.strip()}"]),
        *[f"console: {line.strip()}" for line in console.splitlines() if "Error" in line][:1],
        *([] if EARLIER_LINE in log else ["info --show-log: nothing from before"]),
    ]


@pytest.mark.members(1)
def test_after_cluster_enable(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A day after ``cluster enable`` the log files of a running container are still there."""
    member = enable(unjoined)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(2)
def test_after_join(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A day after a server has joined the log files of its running container are still there."""
    member = join(unjoined)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(1)
def test_in_use(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A day after ``cluster enable`` the running container can be used as before."""
    member = enable(unjoined)
    assert use(member) == []
    files = age(member)
    wait_for_expiry(member)
    with symptom("exec, console and the log of the running container work"):
        gone = not files & log_files(member)
        failing = use(member)
        if failing and gone:
            raise Shown("all log files of a running instance gone", instance="c1", failing=failing, files=files)
        assert not failing, "; ".join(failing)


@pytest.mark.requires("vm-instances")
@pytest.mark.members(1)
def test_virtual_machine(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A day after ``cluster enable`` qemu.log and the other files of a running VM are still there."""
    member = enable(unjoined)
    member.init_vm("v1")
    member.client("start", "v1", timeout=60)
    files = age(member, "v1")
    wait_for_expiry(member)
    with symptom("the log files of the running virtual machine are kept"):
        check_kept(member, files, "v1")
