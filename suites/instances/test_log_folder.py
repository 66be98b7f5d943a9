"""The log folder of a running instance must not be deleted (canonical/lxd#14791).

The daily log expiry kept the server state it was given when the daemon started. On a server that became
a cluster member later, that state still calls the server "none": the list of its instances comes back
empty, and the folder of every running instance counts as that of an unknown one, which is removed once
nothing in it has changed for a day. After a restart of the daemon the same expiry is harmless.

The expiry runs when the daemon starts and every 24 hours of a clock that nothing can set, so its period
is shortened in the product's own binary, and files are given the times they would have by then. A folder
that really is of no instance shows that the expiry has run: it goes through the names in order, and that
one is the last.
"""

import pytest

from clusterproof.fixtures import TINY_IMAGE, Cluster, Member, SymptomWatch, eventually

pytestmark = pytest.mark.documents("lxd-14791")

EXPIRY = "main.expireLogsTask"
PERIOD = 2  # seconds, instead of a day
# Folders of unknown instances are removed after 24 hours, log files of known ones after 48.
AGE = "36 hours ago"
UNKNOWN = "zz-of-no-instance"
UNKNOWN_BEFORE = "aa-of-no-instance"
BEFORE = "a line from before"


def start_hastened(member: Member) -> None:
    """Start a daemon whose log expiry runs every few seconds.

    It is ready before it becomes a cluster member: one that is still starting learns its name in time.
    """
    member.daemon.hasten(EXPIRY, every=PERIOD)
    member.daemon.start()
    member.daemon.wait_ready()


def launch(member: Member, *options: str) -> None:
    """Start container c1, with a line in its log that its user may want to read later."""
    member.client("image", "import", TINY_IMAGE, "--alias", "tiny")
    member.client("launch", "tiny", "c1", *options)
    member.run(f"echo '{BEFORE}' >> {folder_of(member, 'c1')}/lxc.log", check=True)


def enabled(members: Cluster) -> Member:
    """A server with a running container that becomes a cluster with ``cluster enable``."""
    member = members.members[0]
    start_hastened(member)
    members.set_up(member)
    launch(member)
    member.client("cluster", "enable", member.name)
    return member


def joined(members: Cluster) -> Member:
    """A server that joins the cluster of another one, then with a running container."""
    member = members.members[-1]
    start_hastened(member)
    members.form()
    launch(member, "--target", member.name)
    return member


def restart_daemon(member: Member) -> None:
    """What upstream advises once a cluster was formed."""
    member.daemon.restart()
    member.daemon.wait_ready()


def folder_of(member: Member, instance: str) -> str:
    """The log folder of an instance in the default project."""
    return f"{member.facts.log_dir}/{instance}"


def log_files(member: Member, instance: str = "c1") -> set[str]:
    """What is in the log folder of an instance; nothing where there is no such folder."""
    return set(member.run(f"find {folder_of(member, instance)} -type f").stdout.split())


def age(member: Member, instance: str = "c1", when: str = AGE, within: str = "") -> set[str]:
    """Give the log folder and its files the times they would have on a quiet instance; return the files.

    ``within`` is where else than at its own path the folder is to be had.
    """
    # Listed first: the expiry may come at any time after.
    files = log_files(member, instance)
    assert files, f"{instance} has no log files to begin with"
    place = within or folder_of(member, instance)
    member.run(f"find {place} -exec touch --date '{when}' {{}} +", check=True)
    return files


def leave_unknown_folder(member: Member, when: str = AGE, name: str = UNKNOWN) -> str:
    """Make the folder that the expiry is right to remove, behind all others; return its path."""
    unknown = folder_of(member, name)
    member.run(f"mkdir {unknown} && touch --date '{when}' {unknown}", check=True)
    return unknown


def wait_for_expiry(member: Member, name: str = UNKNOWN) -> None:
    """Wait until the log expiry has run over everything up to ``name``."""
    unknown = leave_unknown_folder(member, name=name)
    eventually(
        lambda: not member.run(["test", "-e", unknown]).ok,
        within=15 * PERIOD,
        what=f"the log expiry removes {unknown}",
    )


def check_kept(member: Member, files: set[str], instance: str = "c1") -> None:
    """The instance runs and its log files are there."""
    # Before the product is asked anything: when it is, it makes the folder again, empty.
    kept = files & log_files(member, instance)
    check_runs(member, instance)
    check_none_gone(files, kept, instance)


def check_runs(member: Member, instance: str = "c1") -> None:
    """The product says that the instance runs."""
    state = member.client("list", instance, "--format=csv", "--columns=s").stdout.strip()
    assert state == "RUNNING", f"{instance} is {state}"


def check_none_gone(files: set[str], kept: set[str], instance: str = "c1") -> None:
    """All log files that a running instance had are still there."""
    assert kept, f"every log file of running instance {instance} is gone: {', '.join(sorted(files))}"
    assert kept == files, f"some log files of {instance} are gone: {', '.join(sorted(files - kept))}"


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
        *([] if BEFORE in log else ["info --show-log: nothing from before"]),
    ]


@pytest.mark.members(1)
def test_after_cluster_enable(members: Cluster, symptom: SymptomWatch) -> None:
    """A day after ``cluster enable`` the log files of a running container are still there."""
    member = enabled(members)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(2)
def test_after_join(members: Cluster, symptom: SymptomWatch) -> None:
    """A day after a server has joined the log files of its running container are still there."""
    member = joined(members)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(1)
def test_in_use(members: Cluster, symptom: SymptomWatch) -> None:
    """A day after ``cluster enable`` the running container can be used as before."""
    member = enabled(members)
    assert use(member) == []
    files = age(member)
    wait_for_expiry(member)
    with symptom("exec, console and the log of the running container work"):
        gone = not files & log_files(member)
        failing = use(member)
        if failing and gone:
            failing.append(f"every log file of running instance c1 is gone: {', '.join(sorted(files))}")
        assert not failing, "; ".join(failing)


@pytest.mark.requires("vm-instances")
@pytest.mark.members(1)
def test_virtual_machine(members: Cluster, symptom: SymptomWatch) -> None:
    """A day after ``cluster enable`` qemu.log and all else of a running virtual machine are still there."""
    member = enabled(members)
    member.init_vm("v1")
    member.client("start", "v1", timeout=60)
    files = age(member, "v1")
    wait_for_expiry(member)
    with symptom("the log files of the running virtual machine are kept"):
        check_kept(member, files, "v1")


@pytest.mark.members(1)
@pytest.mark.role("control")
def test_restarted_after_cluster_enable(members: Cluster, symptom: SymptomWatch) -> None:
    """A daemon that was started as a cluster member knows its instances."""
    member = enabled(members)
    restart_daemon(member)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(2)
@pytest.mark.role("workaround")
def test_restarted_after_join(members: Cluster, symptom: SymptomWatch) -> None:
    """The documented way out: restart the daemon of the server that has joined."""
    member = joined(members)
    restart_daemon(member)
    files = age(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(1)
@pytest.mark.role("workaround")
def test_touched(members: Cluster, symptom: SymptomWatch) -> None:
    """The documented way out without a restart: touch the files every now and then."""
    member = enabled(members)
    folder = folder_of(member, "c1")
    member.run(f"find {folder} -type f -exec touch {{}} + && touch --date '{AGE}' {folder}", check=True)
    files = log_files(member)
    wait_for_expiry(member)
    with symptom("the log files of the running container are kept"):
        check_kept(member, files)


@pytest.mark.members(1)
@pytest.mark.role("workaround")
def test_read_only(members: Cluster, symptom: SymptomWatch) -> None:
    """The third documented way out: make the log folder read-only, here by a mount over it.

    A container pays for it: its state is ERROR until its folder can be written to again.
    """
    member = enabled(members)
    folder, beneath = folder_of(member, "c1"), "/mnt/c1"
    member.run(f"mkdir {beneath} && mount --bind {folder} {beneath}", check=True)
    member.run(f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}", check=True)
    files = age(member, within=beneath)
    # The expiry ends where it is refused, so nothing behind c1 would show that it has run. Its second time
    # begins when the first is over.
    wait_for_expiry(member, UNKNOWN_BEFORE)
    wait_for_expiry(member, UNKNOWN_BEFORE)
    with symptom("the log files of the running container are kept"):
        check_none_gone(files, files & log_files(member))
    member.run(f"find {beneath} -exec touch {{}} + && umount {folder}", check=True)
    check_runs(member)
