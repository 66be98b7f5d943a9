"""ssh into a VM: one persistent connection, a time limit on every call."""

from __future__ import annotations

import base64
import contextlib
import logging
import select
import shlex
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import paramiko
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.known_secrets import register
from clusterproof.lab.substrates.machine import Result

# Errors of a connection's own thread are raised by the call that waits for it.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

CONNECT = 10.0
# The port that known_hosts leaves out.
STANDARD = paramiko.config.SSH_PORT
# Seconds between two checks of the VM while a command runs.
LOOK = 0.2
# Seconds that output may follow the command's end where a process that it started holds the channel open.
BEHIND = 0.3


@dataclass(frozen=True)
class KeyPair:
    """An ed25519 key pair in OpenSSH's format."""

    private: str
    public: str


def make_key() -> KeyPair:
    """Return a new key pair."""
    key = ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    )
    return KeyPair(register(private.decode()), public.decode())


class Connection:
    """A connection to root on a VM, opened on demand and opened again where it was lost.

    The folder ``keys`` has the private key of the client, ``client``, and the VM's public key, ``host.pub``.
    ``alive`` is called repeatedly and raises LabError where the VM is gone. Raises LabError where a call fails.
    """

    def __init__(self, address: str, port: int, keys: Path, alive: Callable[[], None]) -> None:
        self._address = address
        self._port = port
        self._keys = keys
        self._alive = alive
        self._client: paramiko.SSHClient | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    def answers(self, within: float = CONNECT) -> bool:
        """Say whether the VM's ssh server lets this client in; its banner has to come ``within`` seconds."""
        try:
            self._connected(within)
            return self.run(["true"], timeout=CONNECT).ok
        except LabError:
            self._alive()
            return False

    def run(self, argv: list[str], *, timeout: float, stdin: bytes | None = None) -> Result:
        """Run ``argv``, which has to end within ``timeout`` seconds. Raises LabError."""
        line = shlex.join(["env", "LC_ALL=C.UTF-8", *argv])
        channel = self._open(timeout)
        try:
            channel.exec_command(line)
            if stdin:
                channel.sendall(stdin)
            channel.shutdown_write()
            return self._collect(channel, argv[0], timeout)
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._alive()
            self.close()
            raise LabError(f"ssh: {argv[0]}: {_why(error)}") from error
        finally:
            channel.close()

    def _collect(self, channel: paramiko.Channel, what: str, timeout: float) -> Result:
        out, err = bytearray(), bytearray()
        deadline = time.monotonic() + timeout
        ended: float | None = None
        # Not select(), which refuses a process that has 1024 files open.
        arrived = select.poll()
        arrived.register(channel, select.POLLIN)
        while True:
            arrived.poll(LOOK * 1000)
            moved = False
            while channel.recv_ready():
                out += channel.recv(1 << 16)
                moved = True
            while channel.recv_stderr_ready():
                err += channel.recv_stderr(1 << 16)
                moved = True
            now = time.monotonic()
            if channel.exit_status_ready() and not moved:
                ended = ended or now
                if channel.eof_received or now - ended > BEHIND:
                    return Result(
                        channel.recv_exit_status(), out.decode(errors="replace"), err.decode(errors="replace")
                    )
            elif channel.closed and not moved:
                raise EOFError("the connection was closed before the command had ended")
            self._alive()
            if now > deadline:
                raise LabError(f"ssh: {what} gave no answer within {timeout:g} s")

    def read(self, path: str, timeout: float) -> bytes:
        """Return a file's content. Raises FileNotFoundError."""
        with self._sftp(timeout) as sftp, sftp.open(path, "rb") as file:
            file.prefetch()
            return bytes(file.read())

    def write(self, path: str, content: bytes, mode: int, timeout: float) -> None:
        """Write a file."""
        with self._sftp(timeout) as sftp:
            with contextlib.suppress(FileNotFoundError):
                if stat.S_ISDIR(sftp.stat(path).st_mode or 0):
                    raise LabError(f"ssh: {path} is a folder")
            with sftp.open(path, "wb") as file:
                file.set_pipelined()
                file.write(content)
            sftp.chmod(path, mode)

    @contextlib.contextmanager
    def _sftp(self, timeout: float) -> Iterator[paramiko.SFTPClient]:
        channel = self._open(timeout)
        channel.settimeout(timeout)
        try:
            channel.invoke_subsystem("sftp")
            yield paramiko.SFTPClient(channel)
        except FileNotFoundError:
            raise
        except (paramiko.SSHException, OSError, EOFError) as error:
            self._alive()
            self.close()
            raise LabError(f"ssh: {_why(error)}") from error
        finally:
            channel.close()

    def _open(self, timeout: float) -> paramiko.Channel:
        """Return a new channel; a connection that was lost is opened again once."""
        # A VM that is gone or frozen will not answer: fail at once.
        self._alive()
        for last in (False, True):
            transport = self._connected(timeout).get_transport()
            try:
                if transport is not None and transport.is_active():
                    return transport.open_session(timeout=timeout)
                why: Exception = EOFError("the connection was lost")
            except (paramiko.SSHException, OSError, EOFError) as error:
                why = error
            self._alive()
            self.close()
            if last:
                raise LabError(f"ssh: {_why(why)}") from why
        raise AssertionError("not reached")

    def _connected(self, timeout: float) -> paramiko.SSHClient:
        with self._lock:
            if self._client is None:
                client = paramiko.SSHClient()
                kind, known = (self._keys / "host.pub").read_text().split()[:2]
                host_key = paramiko.PKey.from_type_string(kind, base64.b64decode(known))
                at = self._address if self._port == STANDARD else f"[{self._address}]:{self._port}"
                client.get_host_keys().add(at, kind, host_key)
                try:
                    client.connect(
                        self._address, self._port, "root", sock=self._with_banner(min(CONNECT, timeout)),
                        pkey=paramiko.Ed25519Key.from_private_key_file(str(self._keys / "client")),
                        timeout=CONNECT, banner_timeout=CONNECT, auth_timeout=CONNECT,
                        allow_agent=False, look_for_keys=False,
                    )  # fmt: skip
                except (paramiko.SSHException, OSError, EOFError) as error:
                    client.close()
                    self._alive()
                    raise LabError(f"ssh: {_why(error)}") from error
                self._client = client
            return self._client

    def _with_banner(self, timeout: float) -> socket.socket:
        """Return a connection on which the VM's banner has come within ``timeout`` seconds.

        QEMU accepts the connection before the VM does. Until the banner, giving up early and connecting again is
        cheap; later each attempt costs the VM a key exchange.
        """
        made = socket.create_connection((self._address, self._port), timeout=timeout)
        try:
            made.recv(1, socket.MSG_PEEK)
        except OSError as error:
            made.close()
            raise OSError(f"no banner within {timeout:g} s") from error
        return made


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
