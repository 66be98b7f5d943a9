"""Sweeping: deleting what runs left on the lab host, also after they were killed, and nothing else."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from clusterproof.lab.core import processes, runs
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.names import MARK
from clusterproof.lab.host.private_server import PrivateServer

AT_ONCE = 8


def release(host: Host) -> int:
    """End the use of ``host`` by its run; return how many instances, volumes and processes were removed.

    A private server that no other run uses is stopped. Raises LabError.
    """
    removed = processes.end_all(host.run.folder) + delete_run(host, host.run.id)
    if host.endpoint.private:
        PrivateServer().stop(lambda: is_idle(host))
    host.run.forget()
    return removed


def delete_run(host: Host, run_id: str) -> int:
    """Delete every instance and volume of run ``run_id``; return how many there were. Raises LabError."""
    if not host.is_prepared():
        return 0
    instances = [i["name"] for i in host.instances() if i["config"].get(f"{MARK}.run") == run_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(host.delete_instance, instances))
    volumes = [v["name"] for v in host.volumes() if v["config"].get(f"{MARK}.run") == run_id]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(host.delete_volume, volumes))
    return len(instances) + len(volumes)


def sweep(host: Host) -> list[str]:
    """Delete what dead runs of this computer left on ``host``; return a line for each.

    Raises LabError, after trying all, where something could not be deleted.
    """
    swept, failed = _sweep(host)
    if failed and host.endpoint.private and not _other_runs(host):
        # A pool that became read-only when its disk was full can be written again after a restart.
        server = PrivateServer()
        server.stop()
        server.ensure()
        again, failed = _sweep(host)
        swept += again
    if failed:
        raise LabError("not everything could be swept: " + "; ".join(failed))
    return swept


def is_idle(host: Host) -> bool:
    """Say whether no other run uses the lab on ``host``."""
    return not _other_runs(host) and not (host.is_prepared() and host.instances())


def runs_on(host: Host) -> set[str]:
    """Return the ids of the runs of this computer that have instances or volumes on ``host``."""
    return {
        found["config"][f"{MARK}.run"]
        for found in [*host.instances(), *host.volumes()]
        if found["config"].get(f"{MARK}.owner") == runs.owner()
    }


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


def _other_runs(host: Host) -> list[Run]:
    return [run for run in Run.known() if run.id != host.run.id and run.alive()]
