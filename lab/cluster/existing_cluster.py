"""An existing cluster of the user: where it is, what it runs, and that scenarios stay inside tenants there."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from clusterproof.lab.builds.build import CatalogueBuild
from clusterproof.lab.builds.catalogue import Catalogue
from clusterproof.lab.builds.product_file import explain
from clusterproof.lab.builds.sources import Existing
from clusterproof.lab.cluster import tenant
from clusterproof.lab.cluster.tenant import Door, Tenant
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.core.unreachable import why_unreachable
from clusterproof.lab.images.image import Image


def _is_server(value: str) -> str:
    try:
        parts = urlsplit(value)
        good = parts.scheme == "https" and bool(parts.hostname) and parts.path in ("", "/") and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("must be like https://server:8443")
    return value.rstrip("/")


class Settings(BaseModel):
    """``cluster.toml``; paths are relative to it. Each endpoint is one member of the same cluster.

    ``pool`` is the storage pool for instances, by default that of the default profile's root disk.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    endpoints: list[Annotated[str, AfterValidator(_is_server)]] = Field(min_length=1)
    certificate: str
    key: str
    server_certificate: str | None = None
    pool: str | None = None


@dataclass
class ExistingCluster:
    """An existing cluster of the user, which answers and trusts this client.

    ``doors`` lead to the members that the user named, by name; ``members`` are all that are Online.
    """

    settings: Settings
    build: CatalogueBuild
    extensions: frozenset[str]
    doors: dict[str, Door]
    members: tuple[str, ...]
    pool: str
    run: Run
    transcript: Transcript = field(default_factory=Transcript)

    @classmethod
    def connect(cls, path: Path, known: Catalogue, run: Run) -> Self:
        """Return the cluster that the file ``path`` describes; nothing is changed there.

        Raises UsageError for an invalid file, LabError for a cluster that cannot be used.
        """
        settings = read(path)
        doors, facts = _doors(settings, path.parent)
        first = next(iter(doors.values())).api(Transcript())
        try:
            members = first.get("cluster/members", recursion=1)
            pool = settings.pool or _default_pool(first, path)
        except ApiError as error:
            raise LabError(f"cluster {settings.name}: {error}") from error
        online = tuple(sorted(m["server_name"] for m in members if m["status"] == "Online"))
        version = facts["environment"]["server_version"]
        product = known.product(facts["environment"]["server"])
        extensions = frozenset(facts["api_extensions"])
        source = Existing(settings.name, len(extensions))
        build = CatalogueBuild(product, version, product.track_of(version), source)
        return cls(settings, build, extensions, doors, online, pool, run)

    def image(self) -> Image:
        """Return what the servers run as an image, which is what conditions are evaluated on."""
        build = self.build.installed(self.build.version)
        return Image(build, self.build.facts, "", "", self.extensions)

    def tenant(self, transcript: Transcript) -> Tenant:
        """Return a tenant for one cell, which does not exist yet."""
        return Tenant(self.run, self.doors, self.members, self.pool, transcript)

    def clear(self, run_id: str | None = None) -> list[str]:
        """Remove what ``run_id`` left, by default what dead runs of this computer left; return a line for each.

        Raises LabError, after trying all, where something could not be removed.
        """
        return tenant.clear(self._door.api(self.transcript), run_id)

    def leftovers(self) -> list[str]:
        """Return the names of the projects that dead runs of this computer left."""
        return [project["name"] for project in tenant.leftovers(self._door.api(self.transcript))]

    @property
    def _door(self) -> Door:
        return next(iter(self.doors.values()))

    def describe(self) -> str:
        """Return the cluster in a few words."""
        facts = self.build
        return (
            f"existing cluster {self.settings.name}: {facts.product} {facts.version}, "
            f"{len(self.members)} members Online, reached through {', '.join(self.doors)}"
        )

    def intends(self) -> list[str]:
        """Return what a cell makes there, a line each."""
        return [
            f"each scenario makes one project {tenant.prefix(self.run.id)}..., which the server restricts, and "
            "removes it with everything in it",
            f"inside: at most {tenant.INSTANCES} stopped containers without an image, on pool {self.pool}, "
            "and what scenarios do to them",
            "nothing else is written: no server, member, pool, network, certificate or other project is changed",
        ]


def read(path: Path) -> Settings:
    """Read ``cluster.toml``. Raises UsageError that names file, key and value."""
    try:
        return Settings.model_validate(tomllib.loads(path.read_text("utf-8")))
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{path} is not TOML: {error}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is not UTF-8; save it as UTF-8") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}; see docs/existing-cluster.md") from None
    except ValidationError as error:
        raise UsageError(f"{path}: {explain(error)}") from None


def _doors(settings: Settings, folder: Path) -> tuple[dict[str, Door], dict[str, Any]]:
    """Return a door for each endpoint, by the member's name, and the facts of the first server."""
    files = {"certificate": settings.certificate, "key": settings.key}
    if settings.server_certificate:
        files["server_certificate"] = settings.server_certificate
    paths = {key: folder / Path(name).expanduser() for key, name in files.items()}
    for key, path in paths.items():
        if not path.is_file():
            raise UsageError(f"{key} of cluster {settings.name}: there is no file {path}")
    doors: dict[str, Door] = {}
    seen: list[dict[str, Any]] = []
    for endpoint in settings.endpoints:
        door = Door(endpoint, (paths["certificate"], paths["key"]), paths.get("server_certificate"))
        try:
            facts = door.api(Transcript()).get("")
        except ApiError as error:
            why = why_unreachable(error.__cause__) if error.__cause__ and not error.status else str(error)
            raise LabError(
                f"cluster {settings.name}: {endpoint}: {why}; check endpoints and server_certificate of its file"
            ) from error
        _check(settings, endpoint, facts)
        seen.append(facts)
        doors[facts["environment"]["server_name"]] = door
    _check_same(settings, seen)
    return doors, seen[0]


def _check(settings: Settings, endpoint: str, facts: dict[str, Any]) -> None:
    if facts.get("auth") != "trusted":
        raise LabError(
            f"cluster {settings.name}: {endpoint} does not trust {settings.certificate}; add it there, with "
            "incus config trust add-certificate CLIENT.crt or lxc config trust add CLIENT.crt"
        )
    if not facts["environment"].get("server_clustered"):
        raise LabError(f"cluster {settings.name}: the server at {endpoint} is in no cluster")


def _check_same(settings: Settings, seen: Sequence[dict[str, Any]]) -> None:
    """Raise LabError unless all endpoints belong to one cluster of one build."""
    for key in ("server", "server_version", "certificate_fingerprint"):
        values = sorted({str(facts["environment"].get(key)) for facts in seen})
        if len(values) > 1:
            raise LabError(
                f"cluster {settings.name}: its endpoints do not agree on {key}: {', '.join(values)}; "
                "name members of one cluster that run one build"
            )


def _default_pool(api: Api, path: Path) -> str:
    devices = api.get("profiles/default")["devices"]
    for device in devices.values():
        if device.get("type") == "disk" and device.get("path") == "/":
            return str(device["pool"])
    raise LabError(f'its default profile has no root disk; name a pool for instances in {path}: pool = "NAME"')
