"""Ways to keep the log folders of running instances on affected builds (canonical/lxd#14791).

Upstream's report has three: restart the daemon once the server is a cluster member, touch the files in the
log folders, or make the folders read-only. test_log_folder.py has the bug itself.
"""

import pytest

from clusterproof import Cluster, SymptomWatch
from clusterproof.suites.instances.log_expiry import (
    AGE,
    age,
    check_kept,
    check_none_gone,
    check_runs,
    enable,
    folder_of,
    join,
    log_files,
    wait_for_expiry,
)

pytestmark = pytest.mark.documents("lxd-14791")

# No instance has this name, and in the expiry's order it comes before c1.
UNKNOWN_BEFORE = "aa-of-no-instance"


@pytest.mark.members(1)
@pytest.mark.role("control")
def test_restarted_after_cluster_enable(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """A daemon that was started as a cluster member knows its instances."""
    member = enable(unjoined)
    member.daemon.restart(wait=True)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(2)
@pytest.mark.role("workaround")
def test_restarted_after_join(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The daemon of the server that has joined is restarted."""
    member = join(unjoined)
    member.daemon.restart(wait=True)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(1)
@pytest.mark.role("workaround")
def test_touched(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """Nothing is restarted; the files are touched, the folder itself is not."""
    member = enable(unjoined)
    folder = folder_of(member, "c1")
    member.run(f"find {folder} -type f -exec touch {{}} + && touch --date '{AGE}' {folder}", check=True)
    files = log_files(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(1)
@pytest.mark.role("workaround")
def test_read_only(unjoined: Cluster, symptom: SymptomWatch) -> None:
    """The log folder is made read-only, here by a mount over it.

    A container pays for it: its state is ERROR until its folder can be written to again.
    """
    member = enable(unjoined)
    folder, beneath = folder_of(member, "c1"), "/mnt/c1"
    member.run(f"mkdir {beneath} && mount --bind {folder} {beneath}", check=True)
    read_only = f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"
    member.run(read_only, check=True, beside_daemon=True)
    files = age(member, path=beneath)
    # The expiry ends where it is refused, so nothing behind c1 would show that it has run. Its second run
    # begins when the first is over.
    wait_for_expiry(member, UNKNOWN_BEFORE)
    wait_for_expiry(member, UNKNOWN_BEFORE)
    with symptom("the log files of the running container are kept"):
        check_none_gone(files, files & log_files(member))
    member.run(f"find {beneath} -exec touch {{}} +", check=True)
    member.run(["umount", folder], check=True, beside_daemon=True)
    check_runs(member)
