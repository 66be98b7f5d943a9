"""Sweeping: deleting what runs left on the lab host, also after they were killed, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from clusterproof.lab.core import processes, runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.kept import Kept
from clusterproof.lab.core.runs import Run
from clusterproof.lab.host.host import Host, connect
from clusterproof.lab.host.names import MARK, process_of
from clusterproof.lab.host.private_server import PrivateServer

AT_ONCE = 8


@contextmanager
def borrowed(lab_host: str | None) -> Iterator[Host]:
    """A prepared lab host with a run of its own; what is made on it is removed unless the run is kept.

    ``lab_host`` and errors are as in ``find``; also LabError where the host cannot be used.
    """
    run = Run.new()
    host = None
    try:
        host = connect(lab_host, run)
        yield host
    finally:
        if host is None:
            run.forget()
        elif not run.kept:
            release(host)


def release(host: Host) -> int:
    """End the use of ``host`` by its run; return how many instances, volumes and processes were removed.

    A private server that no other run uses is stopped. Raises LabError.
    """
    removed = processes.end_all(host.run.folder)
    try:
        removed += delete_run(host, host.run.id)
    except LabError:
        if not _restart(host):
            raise
        removed += delete_run(host, host.run.id)
    if host.endpoint.private:
        PrivateServer().stop(lambda: is_idle(host))
    host.run.forget()
    return removed


def leave(host: Host) -> int:
    """End the use of ``host`` by its run, of which one cluster stays; return how many other things were removed.

    Raises LabError.
    """
    stays = Kept.of(host.run).stays
    count = 0
    for process in processes.of_run(host.run.folder):
        if not stays(process.name) and process.pid() is not None:
            process.end()
            count += 1
    return count + _delete(host, host.run.id, lambda name: not stays(name))


def delete_run(host: Host, run_id: str) -> int:
    """Delete every instance and volume of run ``run_id``; return how many there were. Raises LabError."""
    return _delete(host, run_id, lambda _: True)


def delete_ended(host: Host) -> int:
    """Delete what cells of this run left that have ended: those of this process, and of processes that are dead.

    For between two cells of this process. Returns how many instances, volumes and processes there were. Raises
    LabError.
    """
    others = host.run.holders() - {os.getpid()}
    stays = Kept.of(host.run).stays

    def ended(name: str) -> bool:
        maker = process_of(name)
        return maker is not None and maker not in others and not stays(name)

    count = 0
    for process in processes.of_run(host.run.folder):
        if ended(process.name) and process.pid() is not None:
            process.end()
            count += 1
    return count + _delete(host, host.run.id, ended)


def sweep(host: Host) -> list[str]:
    """Delete what dead runs of this computer left on ``host``; return a line for each.

    Raises LabError, after trying all, where something could not be deleted.
    """
    swept, failed = _sweep(host)
    if failed and _restart(host):
        again, failed = _sweep(host)
        swept += again
    if failed:
        raise LabError("not everything could be swept: " + "; ".join(failed))
    return swept


def _restart(host: Host) -> bool:
    """Start a private server anew, unless another run uses it; say whether that was done. Raises LabError.

    A pool that became read-only when its disk was full can be written again then, and members whose monitor was
    killed can be deleted.
    """
    if not host.endpoint.private or others_alive(host):
        return False
    server = PrivateServer()
    server.stop()
    server.ensure()
    return True


def is_idle(host: Host) -> bool:
    """Say whether no other run uses the lab on ``host``."""
    return not others_alive(host) and not (host.is_prepared() and host.instances())


def runs_on(host: Host) -> set[str]:
    """Return the ids of the runs of this computer that have instances or volumes on ``host``."""
    return {
        found["config"][f"{MARK}.run"]
        for found in [*host.instances(), *host.volumes()]
        if found["config"].get(f"{MARK}.owner") == runs.owner()
    }


def _delete(host: Host, run_id: str, chosen: Callable[[str], bool]) -> int:
    """Delete the instances and volumes of a run whose names are ``chosen``; return how many. Raises LabError."""
    if not host.is_prepared():
        return 0
    count = 0
    for found, delete in ((host.instances, host.delete_instance), (host.volumes, host.delete_volume)):
        own = [one["name"] for one in found() if one["config"].get(f"{MARK}.run") == run_id]
        wanted = [name for name in own if chosen(name)]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(delete, wanted))
        count += len(wanted)
    return count


def _sweep(host: Host) -> tuple[list[str], list[str]]:
    """Delete what can be deleted; return a line for each run, and the errors of those that are still there."""
    swept, failed = [], []
    for run_id in sorted(runs_on(host) | {run.id for run in Run.known()}):
        run = Run(run_id)
        if run_id == host.run.id or run.alive():
            continue
        try:
            count = processes.end_all(run.folder) + delete_run(host, run_id)
        except LabError as error:
            failed.append(str(error))
            continue
        run.forget_if_dead()
        if count:
            swept.append(f"run {run_id}: {count} instances, volumes and processes removed")
    return swept, failed


def others_alive(host: Host) -> list[Run]:
    """Return the runs of this computer, beside that of ``host``, that are alive."""
    return [run for run in Run.known() if run.id != host.run.id and run.alive()]
