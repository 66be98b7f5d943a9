"""A tenant: a restricted project on a cluster, in which a scenario can do no harm.

Both sides keep it harmless: the server restricts the project, and the client sends only requests that stay
inside it. The same applies on the lab's own clusters, which shows whether a scenario really is harmless before
it is run on an existing one.
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
# Paths below /1.0 that a scenario may write to, inside its project.
_NAME = r"[A-Za-z0-9._-]+"
_INSIDE = re.compile(
    rf"instances(/{_NAME}(/(state|files|metadata|snapshots(/{_NAME})?|backups(/{_NAME})?))?)?"
    rf"|storage-pools/{_NAME}/volumes/custom(/{_NAME}(/snapshots(/{_NAME})?)?)?"
)
# Keys that lead out of the project, anywhere in a request.
_OUTWARD = frozenset({"project", "all-projects", "target_project"})

_numbers = itertools.count(1)


class HarmError(LabError):
    """A scenario marked harmless was about to leave its project; the request was not sent."""


@dataclass(frozen=True)
class Door:
    """The address and certificates of one member's API."""

    endpoint: str
    cert: tuple[Path, Path]
    server_cert: Path | None = None

    def api(self, transcript: Transcript, name: str = "") -> Api:
        """Return the API with all rights. Raises ApiError where it does not answer."""
        return Api(
            self.endpoint,
            name=name or "the server",
            transcript=transcript,
            cert=self.cert,
            server_cert=self.server_cert,
        )


class HarmlessApi(Api):
    """A member's API inside one project: it reads, and writes instances and custom volumes only.

    Raises HarmError, without sending anything, for every other request.
    """

    def _permit(
        self, method: str, path: str, body: object, params: Mapping[str, str | int]
    ) -> None:
        inside = method == "GET" or _INSIDE.fullmatch(path)
        outward = sorted({*params} & _OUTWARD | _keys(body) & _OUTWARD)
        if not inside or outward or ".." in path or set("?#%") & set(path):
            why = f" with {', '.join(outward)}" if outward else ""
            raise HarmError(
                f"{method} /1.0/{path}{why} is not harmless: a scenario with this marker writes only instances "
                "and custom volumes inside its project; remove the marker"
            )


class Tenant:
    """A project on a cluster, and the members' APIs limited to it.

    ``members`` are the names of the cluster's members, ``doors`` lead to those whose API is used. Instances are
    made on the storage pool ``pool``.
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
            raise LabError(f"the server made project {self.project} with other settings; it was removed")

    def close(self) -> None:
        """Remove the project and everything in it. Raises LabError where something remains."""
        for api in self._apis.values():
            api.close()
        self._apis.clear()
        _remove(self._admin(), self.project, self.run.id)

    def api(self, member: str | None = None) -> HarmlessApi:
        """Return the API of ``member``, by default of the first one that has a door. Raises ApiError."""
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
        """The names of the members whose API can be used."""
        return tuple(self._doors)

    def create(self, name: str, member: str) -> None:
        """Make an empty, stopped container on ``member``; it needs no image."""
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
    """Return the prefix of the names of a run's projects."""
    return f"clusterproof-{run_id.lower()}-"


def leftovers(admin: Api) -> list[dict[str, Any]]:
    """Return the projects that dead runs of this computer left."""
    return [
        project
        for project in admin.get("projects", recursion=1)
        if project["config"].get(MARK) == "true"
        and project["config"].get(f"{MARK}.owner") == owner()
        and (run := project["config"].get(f"{MARK}.run"))
        and not Run(run).alive()
    ]


def clear(admin: Api, run_id: str | None = None) -> list[str]:
    """Remove the projects of run ``run_id``, by default those that dead runs of this computer left.

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
    """Remove ``project`` with everything in it; return how many instances and volumes there were.

    Does nothing where it is gone. Raises LabError, without removing anything, where it is not the run's.
    """
    try:
        found = admin.get(f"projects/{project}")
    except ApiError as error:
        if error.status == NOT_FOUND:
            return 0
        raise LabError(f"project {project} cannot be inspected: {error}") from error
    if found["config"].get(f"{MARK}.run") != run_id or found["config"].get(MARK) != "true":
        raise LabError(f"project {project} was not made by run {run_id}, and is left alone")
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
            # Volumes have a location only where their pool is local to each member.
            at = {"target": volume["location"]} if volume.get("location") not in (None, "", "none") else {}
            admin.delete(f"{path}/{volume['name']}", project=project, timeout=60, **at)
            volumes += 1
    admin.delete(f"projects/{project}", timeout=60)
    return len(instances) + volumes


def _keys(value: object) -> set[str]:
    """Return the keys of all objects in ``value``."""
    if isinstance(value, dict):
        return {str(key) for key in value}.union(*(_keys(inner) for inner in value.values()))
    if isinstance(value, list | tuple):
        return set().union(*(_keys(inner) for inner in value))
    return set()

