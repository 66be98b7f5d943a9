"""Finding the lab host: a server that is named, the server of this computer, or a private one."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.transcript import Transcript
from clusterproof.lab.host.private_server import PrivateServer, daemon_binary

# Where packages put the socket of an installed server.
SOCKETS = (
    Path("/var/lib/incus/unix.socket"),
    Path("/var/snap/lxd/common/lxd/unix.socket"),
    Path("/var/lib/lxd/unix.socket"),
)
# Where the command line clients incus and lxc keep the user's certificate.
CLIENT_CONFIGS = (
    Path("~/.config/incus"),
    Path("~/snap/lxd/common/config"),
    Path("~/.config/lxc"),
)


@dataclass(frozen=True)
class Endpoint:
    """Where a server's API is, a socket's path or an https URL, and the certificates that it takes."""

    url: str
    private: bool = False
    cert: tuple[Path, Path] | None = None
    server_cert: Path | None = None

    def api(self, transcript: Transcript) -> Api:
        """Return the server's API. Raises ApiError where it does not answer."""
        return Api(
            self.url, name="host", transcript=transcript, cert=self.cert, server_cert=self.server_cert
        )


def chosen(wanted: str | None = None) -> str | None:
    """Return the lab host that the user named: ``wanted``, else ``LAB_HOST``; None where neither is set."""
    return wanted or os.environ.get("LAB_HOST") or None


def find(wanted: str | None = None) -> Endpoint:
    """Return the lab host's endpoint, starting a private server if there is no other.

    ``wanted`` is an https URL or a socket's path, by default ``LAB_HOST``. Raises UsageError for an invalid
    one, LabError where there is no server and none can be started.
    """
    if named := chosen(wanted):
        return _named(named)
    if found := local_server():
        return Endpoint(str(found))
    if os.geteuid() != 0 or daemon_binary() is None:
        raise LabError(
            "no lab host: no LXD or Incus server answers on this computer, and "
            + ("a private one needs root" if os.geteuid() else "incusd is not installed")
            + "; run sudo lab/bootstrap and start again as root, or name a server with --lab-host"
        )
    return Endpoint(str(PrivateServer().ensure()), private=True)


def local_server() -> Path | None:
    """Return the socket of the LXD or Incus server of this computer that answers, or None."""
    for path in SOCKETS:
        if path.exists() and os.access(path, os.W_OK):
            with contextlib.suppress(ApiError):
                Api(str(path), name="host", transcript=Transcript(), timeout=20)
                return path
    return None


def _named(wanted: str) -> Endpoint:
    if not wanted.startswith("https://"):
        path = Path(wanted.removeprefix("unix://"))
        if "://" in wanted.removeprefix("unix://") or not path.is_absolute():
            raise UsageError(
                f'lab host "{wanted}" is neither an https URL nor a socket\'s absolute path; '
                "write it like https://server:8443 or /var/lib/incus/unix.socket"
            )
        if not path.exists():
            raise LabError(f"lab host {path}: there is no such socket; is the server running?")
        if not path.is_socket():
            raise UsageError(f"lab host {path}: this is no socket; name that of an LXD or Incus server")
        return Endpoint(str(path))
    if not _is_server(wanted):
        raise UsageError(f'lab host "{wanted}" is not the https URL of a server; write it like https://server:8443')
    server = os.environ.get("LAB_HOST_SERVER_CERT")
    pair = _client_certificate(wanted)
    if server and not Path(server).is_file():
        raise UsageError(f"LAB_HOST_SERVER_CERT: there is no file {server}")
    return Endpoint(wanted, cert=pair, server_cert=Path(server) if server else None)


def _client_certificate(url: str) -> tuple[Path, Path]:
    """Return (certificate, key) for the server at ``url``: those of the environment, else the user's own."""
    cert, key = os.environ.get("LAB_HOST_CERT"), os.environ.get("LAB_HOST_KEY")
    if cert and key:
        pair = Path(cert), Path(key)
    else:
        folders = [folder.expanduser() for folder in CLIENT_CONFIGS]
        folder = next((f for f in folders if (f / "client.crt").exists()), None)
        if folder is None:
            raise UsageError(
                f"lab host {url} needs a client certificate that it trusts; "
                "name one with LAB_HOST_CERT and LAB_HOST_KEY"
            )
        pair = folder / "client.crt", folder / "client.key"
    for path in pair:
        if not path.is_file():
            raise UsageError(f"client certificate for lab host {url}: there is no file {path}")
    return pair


def _is_server(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False
