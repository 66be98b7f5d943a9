"""An LXD or Incus server that answers and trusts this client: what it is and how it is reached."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from clusterproof.lab.core.api import Api, ApiError, HostApiError
from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.names import MARK, PROJECT

NOT_FOUND = 404


class Server:
    """A server: ``api`` is limited to the lab's project, ``server`` is not.

    ``facts`` is what it reports of itself. ``members`` are the members of the host's own cluster, by name, with
    the address of each; empty where it is a single server. Raises LabError where it does not answer or does not
    trust this client.
    """

    def __init__(self, endpoint: Endpoint, transcript: Transcript) -> None:
        self.endpoint = endpoint
        self.transcript = transcript
        options: dict[str, Any] = {
            "name": "host",
            "transcript": transcript,
            "cert": endpoint.cert,
            "server_cert": endpoint.server_cert,
            "error": HostApiError,
        }
        try:
            self.server = Api(endpoint.url, **options)
            self.api = Api(endpoint.url, **options, project=PROJECT)
            self.facts = self.server.get("")
        except ApiError as error:
            raise LabError(f"lab host: {error}; check --lab-host and that the server runs") from error
        if self.facts.get("auth") != "trusted":
            raise LabError(
                f"lab host {endpoint.url} does not trust this client; add its certificate there, with "
                "incus config trust add-certificate CLIENT.crt or lxc config trust add CLIENT.crt"
            )
        clustered = self.facts["environment"].get("server_clustered")
        self.members = _members(self.server) if clustered else {}

    @property
    def client(self) -> str:
        """The name of the server's own command line client."""
        return "incus" if self.facts["environment"]["server"] == "incus" else "lxc"

    @property
    def local(self) -> bool:
        """Whether the server runs on this computer, so that its bridge can be reached from here."""
        return not self.endpoint.url.startswith("https://")

    @property
    def direct(self) -> bool:
        """Whether members of the lab can be reached from here by their own addresses.

        Every member of a clustered host has the gateway's address, so that replies may end on another one.
        """
        return self.local and not self.members

    def address_of(self, member: str) -> str:
        """Return the address at which ``member`` of the host's cluster is reached from here."""
        return self.members.get(member) or urlsplit(self.endpoint.url).hostname or "localhost"

    def targets(self) -> list[dict[str, str]]:
        """Return the query parameters that address each member of a clustered host in turn; else one, empty."""
        return [{"target": member} for member in self.members] or [{}]

    def describe(self) -> str:
        """Return the server in a few words: ``private incus 6.0.4``."""
        environment = self.facts["environment"]
        kind = "private " if self.endpoint.private else ""
        if self.members:
            kind += f"cluster of {len(self.members)} members with "
        place = "" if self.local else f" at {self.endpoint.url}"
        return f"{kind}{environment['server']} {environment['server_version']}{place}"

    @property
    def kernel(self) -> str:
        """The version of the kernel, which containers share."""
        return str(self.facts["environment"].get("kernel_version", ""))


def _members(server: Api) -> dict[str, str]:
    """Return the members of the server's cluster by name, with the address of each."""
    return {
        member["server_name"]: urlsplit(member["url"]).hostname or ""
        for member in server.get("cluster/members", recursion=1)
    }


def is_marked(found: dict[str, Any]) -> bool:
    """Say whether the lab made what the API returned as ``found``."""
    return (found.get("config") or {}).get(MARK) == "true"


def found_at(api: Api, path: str, **where: str) -> dict[str, Any] | None:
    """Return what is at ``path``, None where there is nothing."""
    try:
        found: dict[str, Any] = api.get(path, **where)
    except ApiError as error:
        if error.status == NOT_FOUND:
            return None
        raise
    return found
