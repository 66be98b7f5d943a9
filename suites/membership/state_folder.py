"""Removing the state folder of a server after its join failed, to try again from nothing."""

from clusterproof import Cluster, Member, Shown, SymptomWatch
from clusterproof.suites.membership.joining import SOURCE, check_joins, mounted

FILE = "precious"


def remove_state(joiner: Member, commands: str) -> None:
    """Stop the daemon and run ``commands``, which remove its state folder; mount points cannot be removed."""
    joiner.daemon.stop()
    joiner.run(commands, beside_daemon=True)
    left = joiner.run(f"ls {joiner.facts.state_dir}").stdout.split()
    assert not {"database", "server.crt"} & set(left), f"not removed: {left}"


def remove_with_data(joiner: Member, commands: str) -> None:
    """Put a file into the source of the pool, then remove the state folder, in commands ``{state}``."""
    joiner.run(["touch", f"{SOURCE}/{FILE}"], check=True)
    remove_state(joiner, commands.format(state=joiner.facts.state_dir))


def check_data_kept(joiner: Member) -> None:
    """The file in the source of the pool is still there."""
    kept = joiner.inspect.file(SOURCE).listdir()
    if FILE not in kept:
        raise Shown("data removed with the state folder", folder=SOURCE, kept=kept)


def check_clean_up(unjoined: Cluster, joiner: Member, symptom: SymptomWatch) -> None:
    """The state folder was removed with care: the data was kept, and a second join works."""
    with symptom("what is in the source of the pool is still there"):
        check_data_kept(joiner)
    empty_source(joiner)
    with symptom("the joiner can join"):
        check_joins(unjoined, joiner)


def empty_source(joiner: Member) -> None:
    """Remove everything that a new pool would refuse: its mount, its folder and what is in the source."""
    pool = f"{joiner.facts.state_dir}/storage-pools/data"
    joiner.run(f"umount {pool}; rmdir {pool}", beside_daemon=True)
    joiner.run(f"find {SOURCE} -mindepth 1 -delete")
    assert not mounted(joiner)
