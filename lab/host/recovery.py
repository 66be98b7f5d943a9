"""Recovery: the lab is set up again on a host that lost its server, bridge, pool or project."""

from __future__ import annotations

import contextlib

from filelock import Timeout

from clusterproof.lab.core import runs
from clusterproof.lab.core.api import ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.host.host import Host
from clusterproof.lab.host.private_server import PrivateServer
from clusterproof.lab.host.sweeping import delete_ended, others_alive

# Seconds for a server that somebody else starts again, and for another process that sets the lab up.
RETURNED = 60.0
PATIENCE = 300.0


def recover(host: Host) -> str:
    """Set up again what ``host`` lost; return what that was, empty where it lost nothing. Raises LabError.

    For between two cells of this process: what its earlier cells left is deleted. Of several processes that call
    this at once the first does the work. The members of a private server go with it, unless another run is
    alive; a pool that cannot be written is mounted anew, which ends all members.
    """
    lost = host.lost()
    if not lost:
        return ""
    try:
        with runs.lock("recovery").acquire(timeout=PATIENCE):
            _serve(host)
            host.prepare()
            # What cannot be deleted does not keep the next cell from running; the end of the run reports it.
            with contextlib.suppress(LabError):
                delete_ended(host)
    except Timeout as error:
        raise LabError(f"{lost}; another process has tried to set it up again for {PATIENCE:g} s") from error
    except LabError as error:
        raise LabError(f"{lost}, and the lab cannot be set up again: {error}") from error
    return lost


def _serve(host: Host) -> None:
    """Bring the server back. Raises LabError."""
    if host.endpoint.private:
        server = PrivateServer()
        if server.is_read_only():
            server.stop()
        server.ensure(end_members=not others_alive(host))
        return
    try:
        eventually(lambda: _answers(host), within=RETURNED, every=0.5, what=f"{host.describe()} answers")
    except NotObservedError as error:
        raise LabError(str(error)) from error


def _answers(host: Host) -> bool:
    try:
        host.server.get("")
    except ApiError:
        return False
    return True
