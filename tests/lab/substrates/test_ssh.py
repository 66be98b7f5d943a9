"""ssh into machines, against a real ssh server of this process's own on the loopback device."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import paramiko
import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.substrates.ssh import Connection, make_key


class Opened(paramiko.SFTPHandle):
    """A file that a client has open."""

    readfile: IO[bytes]
    writefile: IO[bytes]

    def stat(self):
        return paramiko.SFTPAttributes.from_stat(os.fstat(self.readfile.fileno()))


class Files(paramiko.SFTPServerInterface):
    """Files below ``root``, by their absolute path there."""

    root: Path

    def _real(self, path: str) -> Path:
        return self.root / path.lstrip("/")

    def open(self, path, flags, attr):  # noqa: ARG002
        try:
            handle = Opened(flags)
            writes = flags & (os.O_WRONLY | os.O_RDWR)
            file = os.fdopen(os.open(self._real(path), flags, 0o644), "wb" if writes else "rb")
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)
        handle.readfile = handle.writefile = file
        return handle

    def stat(self, path):
        try:
            return paramiko.SFTPAttributes.from_stat(self._real(path).stat())
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    lstat = stat

    def chattr(self, path, attr):
        try:
            paramiko.SFTPServer.set_file_attr(str(self._real(path)), attr)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno or errno.EIO)
        return paramiko.sftp.SFTP_OK


class Session(paramiko.ServerInterface):
    """Lets root in with one key, and runs what it is asked to run as a real process."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def check_channel_request(self, kind, chanid):  # noqa: ARG002
        return paramiko.common.OPEN_SUCCEEDED

    def get_allowed_auths(self, username):  # noqa: ARG002
        return "publickey"

    def check_auth_publickey(self, username, key):
        known = username == "root" and key.get_base64() == self.server.client_key
        return paramiko.common.AUTH_SUCCESSFUL if known else paramiko.common.AUTH_FAILED

    def check_channel_exec_request(self, channel, command):
        threading.Thread(target=self.server.run, args=(channel, command.decode()), daemon=True).start()
        return True


class Server:
    """An ssh server; ``run`` is what it does with a command, ``transports`` its connections so far."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.transports: list[paramiko.Transport] = []
        self.run: Callable[[paramiko.Channel, str], None] = self.really
        client, host = make_key(), make_key()
        for name, text in (("client", client.private), ("host", host.private), ("host.pub", host.public)):
            (folder / name).write_text(text)
        self.client_key = client.public.split()[1]
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.accept: Callable[[socket.socket], None] = self.serve
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            self.accept(peer)

    def serve(self, peer: socket.socket) -> None:
        files = type("FilesHere", (Files,), {"root": self.folder})
        transport = paramiko.Transport(peer)
        transport.add_server_key(paramiko.Ed25519Key.from_private_key_file(str(self.folder / "host")))
        transport.set_subsystem_handler("sftp", paramiko.SFTPServer, files)
        self.transports.append(transport)
        transport.start_server(server=Session(self), event=threading.Event())

    @staticmethod
    def really(channel: paramiko.Channel, command: str) -> None:
        given = bytearray()
        while block := channel.recv(1 << 16):
            given += block
        done = subprocess.run(["sh", "-c", command], input=bytes(given), capture_output=True, check=False)
        channel.sendall(done.stdout)
        channel.sendall_stderr(done.stderr)
        channel.send_exit_status(done.returncode)
        channel.close()

    def close(self) -> None:
        # Closing alone would leave the thread that waits for the next connection waiting.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for transport in self.transports:
            transport.close()


class Machine:
    """Whether the machine behind the connection is alive."""

    gone = False

    def check(self) -> None:
        if self.gone:
            raise LabError("member m1 is gone: QEMU has ended: killed")


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def ssh(server, machine):
    connection = Connection("127.0.0.1", server.port, server.folder, machine.check)
    yield connection
    connection.close()


def test_a_command_its_outputs_and_its_status(ssh):
    result = ssh.run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=30)
    assert (result.rc, result.stdout, result.stderr) == (3, "out\n", "err\n")


def test_words_arrive_as_they_are(ssh):
    words = ["a b", "it's", '"q"', "$HOME", "*", "", "é\n"]
    assert ssh.run(["printf", r"%s|", *words], timeout=30).stdout == "".join(f"{word}|" for word in words)


def test_input_and_output_larger_than_every_window(ssh):
    text = b"0123456789abcdef" * 200_000
    assert ssh.run(["cat"], timeout=60, stdin=text).stdout.encode() == text


def test_a_command_without_input_gets_none(ssh):
    assert ssh.run(["cat"], timeout=30).stdout == ""


def test_what_is_no_text_is_told_all_the_same(ssh):
    assert ssh.run(["printf", r"\377x"], timeout=30).stdout == "\ufffdx"


def test_one_connection_carries_all(ssh, server):
    for _ in range(3):
        assert ssh.run(["true"], timeout=30).ok
    ssh.write("/file", b"x", 0o600, timeout=30)
    assert ssh.read("/file", timeout=30) == b"x"
    assert len(server.transports) == 1


def test_a_connection_that_was_lost_between_two_commands_is_made_again(ssh, server):
    assert ssh.run(["true"], timeout=30).ok
    server.transports[0].close()
    assert ssh.run(["echo", "again"], timeout=30).stdout == "again\n"
    assert len(server.transports) == 2


def test_closing_is_no_end(ssh, server):
    ssh.run(["true"], timeout=30)
    ssh.close()
    ssh.close()
    assert ssh.run(["true"], timeout=30).ok
    assert len(server.transports) == 2


def test_a_connection_that_is_lost_in_the_middle_of_a_command(ssh, server):
    server.run = lambda channel, _: channel.get_transport().close()
    with pytest.raises(LabError, match=r"^ssh: reboot: "):
        ssh.run(["reboot"], timeout=30)
    server.run = server.really
    assert ssh.run(["true"], timeout=30).ok


def test_a_lost_command_is_not_run_a_second_time(ssh, server):
    commands = []

    def once(channel: paramiko.Channel, command: str) -> None:
        commands.append(command)
        channel.get_transport().close()

    server.run = once
    with pytest.raises(LabError):
        ssh.run(["rm", "x"], timeout=30)
    assert len(commands) == 1


def test_a_command_that_gives_no_answer_ends_in_time(ssh, server):
    ssh.run(["true"], timeout=30)
    server.run = lambda *_: None
    with pytest.raises(LabError, match=r"^ssh: hang gave no answer within 0\.3 s$"):
        ssh.run(["hang"], timeout=0.3)


def test_a_machine_that_dies_during_a_command_is_recognised_at_once(ssh, server, machine):
    def die(_: paramiko.Channel, __: str) -> None:
        machine.gone = True

    server.run = die
    with pytest.raises(LabError, match="member m1 is gone: QEMU has ended: killed"):
        ssh.run(["hang"], timeout=600)


def test_a_machine_that_has_died_before_is_named_and_not_its_connection(ssh, server, machine):
    ssh.run(["true"], timeout=30)
    server.close()
    machine.gone = True
    with pytest.raises(LabError, match="member m1 is gone"):
        ssh.run(["true"], timeout=30)
    with pytest.raises(LabError, match="member m1 is gone"):
        ssh.answers()


def test_a_command_whose_child_holds_the_output_does_not_hold_the_caller(ssh, server):
    def keep_open(channel: paramiko.Channel, _: str) -> None:
        channel.sendall(b"started\n")
        channel.send_exit_status(0)

    server.run = keep_open
    assert ssh.run(["daemon"], timeout=60).stdout == "started\n"


def test_answers(ssh, server):
    assert ssh.answers()
    server.close()
    ssh.close()
    assert not ssh.answers()


def test_a_server_that_never_says_who_it_is(ssh, server, monkeypatch):
    held: list[object] = []
    server.accept = held.append
    monkeypatch.setattr("clusterproof.lab.substrates.ssh.CONNECT", 0.3)
    with pytest.raises(LabError, match=r"^ssh: .*(banner|[Tt]ime|session)"):
        ssh.run(["true"], timeout=30)
    assert not ssh.answers()


def test_a_machine_that_is_not_up_yet_is_soon_asked_anew(ssh, server):
    held: list[object] = []
    server.accept = held.append
    assert not ssh.answers(within=0.05)
    server.accept = server.serve
    assert ssh.answers(within=30)
    assert (len(held), len(server.transports)) == (1, 1)


def test_nobody_there(ssh, server):
    server.close()
    with pytest.raises(LabError, match=r"^ssh: "):
        ssh.run(["true"], timeout=30)


def test_another_machine_in_its_place_is_refused(ssh, server):
    (server.folder / "host").write_text(make_key().private)
    with pytest.raises(LabError, match=r"ssh: Host key for server .* does not match"):
        ssh.run(["true"], timeout=30)


def test_a_key_that_is_not_let_in(ssh, server):
    server.client_key = "other"
    with pytest.raises(LabError, match=r"^ssh: Authentication failed"):
        ssh.run(["true"], timeout=30)


@pytest.mark.parametrize("content", [b"", b"text\n", bytes(range(256)) * 2000])
def test_a_file_is_read_as_it_was_written(ssh, server, content):
    ssh.write("/some file", content, 0o640, timeout=30)
    assert (server.folder / "some file").read_bytes() == content
    assert (server.folder / "some file").stat().st_mode & 0o777 == 0o640
    assert ssh.read("/some file", timeout=30) == content


def test_a_shorter_file_replaces_a_longer_one(ssh):
    ssh.write("/file", b"a long text", 0o600, timeout=30)
    ssh.write("/file", b"short", 0o600, timeout=30)
    assert ssh.read("/file", timeout=30) == b"short"


def test_a_file_or_folder_that_is_missing(ssh):
    with pytest.raises(FileNotFoundError):
        ssh.read("/missing", timeout=30)
    with pytest.raises(FileNotFoundError):
        ssh.write("/no/such/folder", b"", 0o600, timeout=30)


def test_a_folder_is_not_written(ssh, server):
    (server.folder / "folder").mkdir()
    with pytest.raises(LabError, match=r"^ssh: /folder is a folder$"):
        ssh.write("/folder", b"", 0o600, timeout=30)


def test_a_file_whose_machine_dies(ssh, server, machine):
    ssh.run(["true"], timeout=30)
    server.close()
    machine.gone = True
    with pytest.raises(LabError, match="member m1 is gone"):
        ssh.read("/file", timeout=30)


def test_keys_are_their_own(tmp_path):
    one, other = make_key(), make_key()
    assert one.private != other.private
    (tmp_path / "key").write_text(one.private)
    loaded = paramiko.Ed25519Key.from_private_key_file(str(tmp_path / "key"))
    assert one.public == f"ssh-ed25519 {loaded.get_base64()}"
