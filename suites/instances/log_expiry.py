"""The daily log expiry on a server with a running container c1, at an interval of seconds.

The expiry runs when the daemon starts and every 24 hours of a clock that nothing can set. Its interval is
shortened in the product's own binary, and files are given the times that they would have a day later.
"""

from clusterproof import Cluster, Member, Shown, eventually

EXPIRY = "main.expireLogsTask"
INTERVAL = 2  # seconds, instead of a day
# Folders of unknown instances are removed after 24 hours, log files of known ones after 48.
AGE = "36 hours ago"
# No instance has this name, and in the expiry's order it comes behind all others.
UNKNOWN = "zz-of-no-instance"
EARLIER_LINE = "a line from before"


def start(member: Member) -> None:
    """Start the daemon of ``member`` with the shortened interval.

    It is ready before it becomes a cluster member: one that is still starting learns its name in time.
    """
    member.daemon.run_daily_task_every(EXPIRY, INTERVAL)
    member.daemon.start(wait=True)


def launch(member: Member, *options: str) -> None:
    """Launch c1 and append a line to its log that its user may want to read later."""
    member.launch("c1", *options)
    member.run(f"echo '{EARLIER_LINE}' >> {folder_of(member, 'c1')}/lxc.log", check=True)


def enable(unjoined: Cluster) -> Member:
    """A server with the running container becomes a cluster with ``cluster enable``."""
    member = unjoined.members[0]
    start(member)
    unjoined.set_up(member)
    launch(member)
    member.client("cluster", "enable", member.name)
    return member


def join(unjoined: Cluster) -> Member:
    """A server joins the cluster of another one, then runs the container."""
    member = unjoined.members[-1]
    start(member)
    unjoined.form()
    launch(member, "--target", member.name)
    return member


def folder_of(member: Member, instance: str) -> str:
    """Return the log folder of an instance of the default project."""
    return f"{member.facts.log_dir}/{instance}"


def log_files(member: Member, instance: str = "c1") -> set[str]:
    """Return the files in the log folder of an instance; none where there is no such folder."""
    return set(member.run(f"find {folder_of(member, instance)} -type f").stdout.split())


def age(member: Member, instance: str = "c1", path: str = "") -> set[str]:
    """Date back the log folder, at ``path`` by default its own, as on a quiet instance; return its files."""
    files = log_files(member, instance)  # first: the expiry may come at any time after
    assert files, f"{instance} has no log files to begin with"
    path = path or folder_of(member, instance)
    member.run(f"find {path} -exec touch --date '{AGE}' {{}} +", check=True)
    return files


def wait_for_expiry(member: Member, name: str = UNKNOWN) -> None:
    """Wait until the log expiry has removed a folder ``name``, as it should: no instance has that name."""
    unknown = folder_of(member, name)
    member.run(f"mkdir {unknown} && touch --date '{AGE}' {unknown}", check=True)
    eventually(
        lambda: not member.inspect.file(unknown).exists,
        within=60 * INTERVAL,
        what=f"the log expiry removes {unknown}",
    )


def check_kept(member: Member, files: set[str], instance: str = "c1") -> None:
    """The instance runs and its log files are there."""
    # Before the product is asked anything: when it is, it makes the folder again, empty.
    kept = files & log_files(member, instance)
    check_runs(member, instance)
    check_none_gone(files, kept, instance)


def check_runs(member: Member, instance: str = "c1") -> None:
    """The product reports the instance as running."""
    state = member.client("list", instance, "--format=csv", "--columns=s").stdout.strip()
    assert state == "RUNNING", f"{instance} is {state}"


def check_none_gone(files: set[str], kept: set[str], instance: str = "c1") -> None:
    """All log files that a running instance had are still there."""
    if not kept:
        raise Shown("all log files of a running instance gone", instance=instance, files=files)
    assert kept == files, f"some log files of {instance} are gone: {', '.join(sorted(files - kept))}"
