"""A tenant: a place of its own on a cluster, in which a scenario can do no harm.

Two things keep it harmless. The server does: the project is a restricted one. And so does this side: only
requests that stay inside the project are sent. The same holds on a cluster of the lab, so that whether a
scenario really is harmless shows long before it is run on somebody's own.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import Run, owner
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.names import MARK

INSTANCES = 8
NOT_FOUND = 404
# What a scenario may write, below /1.0 and inside its project.
_NAME = r"[A-Za-z0-9._-]+"
_INSIDE = re.compile(
    rf"instances(/{_NAME}(/(state|files|metadata|snapshots(/{_NAME})?|backups(/{_NAME})?))?)?"
    rf"|storage-pools/{_NAME}/volumes/custom(/{_NAME}(/snapshots(/{_NAME})?)?)?"
)
# Parameters that lead out of the project, wherever in a request they stand.
_OUTWARD = frozenset({"project", "all-projects", "target_project"})

_numbers = itertools.count(1)


class HarmError(LabError):
    """A scenario was about to do what a harmless one must not; the request was not sent."""


@dataclass(frozen=True)
class Door:
    """How one member's API is reached."""

    endpoint: str
    cert: tuple[Path, Path]
    server_cert: Path | None = None

    def api(self, transcript: Transcript, name: str = "") -> Api:
        """Return the API, as an administrator. Raises ApiError where it does not answer."""
        return Api(
            self.endpoint,
            name=name or "the server",
            transcript=transcript,
            cert=self.cert,
            server_cert=self.server_cert,
        )


class HarmlessApi(Api):
    """A member's API inside one project: reads there, and writes what belongs to an instance or a volume.

    Raises HarmError, and sends nothing, for every other request.
    """

    def _permit(
        self, method: str, path: str, body: object, params: Mapping[str, str | int]
    ) -> None:
        inside = method == "GET" or _INSIDE.fullmatch(path)
        outward = sorted({*params} & _OUTWARD | _keys(body) & _OUTWARD)
        if not inside or outward or ".." in path or set("?#%") & set(path):
            why = f" with {', '.join(outward)}" if outward else ""
            raise HarmError(
                f"{method} /1.0/{path}{why} is not harmless: a scenario marked so stays inside its project, "
                "with instances and custom volumes; take the marker away"
            )


class Tenant:
    """A project on a cluster, and the members' APIs limited to it.

    ``members`` are the names of the cluster's members, ``doors`` those whose API is asked. ``pool`` is where
    instances are made. Times are seconds.
    """

    def __init__(
        self,
        run: Run,
        doors: Mapping[str, Door],
        members: tuple[str, ...],
        pool: str,
        transcript: Transcript,
    ) -> None:
        self.run = run
        self.members = members
        self.pool = pool
        self.project = f"{prefix(run.id)}{run.number():x}-{next(_numbers)}"
        self._doors = dict(doors)
        self._transcript = transcript
        self._apis: dict[str, HarmlessApi] = {}

    def open(self) -> None:
        """Make the project. Raises LabError where the server does not restrict it."""
        config = {
            "features.images": "true",
            "features.profiles": "true",
            "features.storage.volumes": "true",
            "limits.instances": str(INSTANCES),
            "restricted": "true",
            "restricted.cluster.target": "allow",
            "restricted.snapshots": "allow",
            MARK: "true",
            f"{MARK}.run": self.run.id,
            f"{MARK}.owner": owner(),
        }
        about = f"run {self.run.id} of clusterproof; clusterproof clear removes it"
        admin = self._admin()
        try:
            admin.post("projects", {"name": self.project, "description": about, "config": config})
            made = admin.get(f"projects/{self.project}")["config"]
        except ApiError as error:
            raise LabError(f"no project could be made: {error}") from error
        if made != {**made, **config}:
            self.close()
            raise LabError(f"the server made project {self.project} with other settings; it was removed again")

    def close(self) -> None:
        """Remove the project and all that is in it. Raises LabError where something stays."""
        for api in self._apis.values():
            api.close()
        self._apis.clear()
        _remove(self._admin(), self.project, self.run.id)

    def api(self, member: str | None = None) -> HarmlessApi:
        """Return the API of ``member``, by default of the first that is asked. Raises ApiError."""
        name = member or next(iter(self._doors))
        if name not in self._apis:
            door = self._doors[name]
            self._apis[name] = HarmlessApi(
                door.endpoint,
                name=name,
                transcript=self._transcript,
                cert=door.cert,
                server_cert=door.server_cert,
                project=self.project,
            )
        return self._apis[name]

    @property
    def asked(self) -> tuple[str, ...]:
        """The names of the members whose API can be asked."""
        return tuple(self._doors)

    def create(self, name: str, member: str) -> None:
        """Make an empty container on ``member``; it needs no image, and is not started."""
        body = {
            "name": name,
            "type": "container",
            "source": {"type": "none"},
            "devices": {"root": {"type": "disk", "path": "/", "pool": self.pool}},
        }
        self.api().post("instances", body, target=member, timeout=60)

    def _admin(self) -> Api:
        name, door = next(iter(self._doors.items()))
        return door.api(self._transcript, name)


def prefix(run_id: str) -> str:
    """Return how the names of a run's projects begin."""
    return f"clusterproof-{run_id.lower()}-"


def leftovers(admin: Api) -> list[dict[str, Any]]:
    """Return the projects that dead runs of this machine have left."""
    return [
        project
        for project in admin.get("projects", recursion=1)
        if project["config"].get(MARK) == "true"
        and project["config"].get(f"{MARK}.owner") == owner()
        and (run := project["config"].get(f"{MARK}.run"))
        and not Run(run).alive()
    ]


def clear(admin: Api, run_id: str | None = None) -> list[str]:
    """Remove the projects of run ``run_id``, else those that dead runs of this machine have left.

    Returns a line for each. Raises LabError, after trying all, where something could not be removed.
    """
    if run_id is None:
        found = leftovers(admin)
    else:
        projects = admin.get("projects", recursion=1)
        found = [p for p in projects if p["config"].get(f"{MARK}.run") == run_id]
    removed, kept = [], []
    for project in found:
        run = project["config"][f"{MARK}.run"]
        try:
            count = _remove(admin, project["name"], run)
        except LabError as error:
            kept.append(str(error))
            continue
        removed.append(f"run {run}: project {project['name']} removed, with {count} instances and volumes")
        if run_id is None:
            Run(run).forget_if_dead()
    if kept:
        raise LabError("not everything could be removed: " + "; ".join(kept))
    return removed


def _remove(admin: Api, project: str, run_id: str) -> int:
    """Remove ``project`` with all that is in it; return how many instances and volumes there were.

    It may be gone already. Raises LabError, and removes nothing, where it is not the run's.
    """
    try:
        found = admin.get(f"projects/{project}")
    except ApiError as error:
        if error.status == NOT_FOUND:
            return 0
        raise LabError(f"project {project} cannot be looked at: {error}") from error
    if found["config"].get(f"{MARK}.run") != run_id or found["config"].get(MARK) != "true":
        raise LabError(f"project {project} is not one that run {run_id} has made; it stays")
    try:
        return _empty(admin, project)
    except ApiError as error:
        raise LabError(
            f"project {project} could not be removed: {error}; clusterproof clear tries again"
        ) from error


def _empty(admin: Api, project: str) -> int:
    instances = admin.get("instances", project=project, recursion=1)
    for instance in instances:
        path = f"instances/{instance['name']}"
        with contextlib.suppress(ApiError):
            admin.put(f"{path}/state", {"action": "stop", "force": True, "timeout": 20}, project=project)
        admin.delete(path, project=project, timeout=60)
    for image in admin.get("images", project=project, recursion=1):
        admin.delete(f"images/{image['fingerprint']}", project=project, timeout=60)
    volumes = 0
    for pool in admin.get("storage-pools", recursion=1):
        path = f"storage-pools/{pool['name']}/volumes/custom"
        for volume in admin.get(path, project=project, recursion=1):
            # A pool's volumes are told apart by their members only where there are several.
            at = {"target": volume["location"]} if volume.get("location") not in (None, "", "none") else {}
            admin.delete(f"{path}/{volume['name']}", project=project, timeout=60, **at)
            volumes += 1
    admin.delete(f"projects/{project}", timeout=60)
    return len(instances) + volumes


def _keys(value: object) -> set[str]:
    """Return the keys of all tables in ``value``."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*(_keys(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_keys(inner) for inner in value))
    return set()

