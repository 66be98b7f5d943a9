"""A request whose body is held back, against a real server on a unix socket of this computer."""

from __future__ import annotations

import json
import socketserver
import subprocess
import threading
from http.server import BaseHTTPRequestHandler
from types import SimpleNamespace

import pytest

from clusterproof.lab.cluster.held_request import HeldRequest
from clusterproof.lab.core.waiting import NotObservedError, eventually
from clusterproof.lab.substrates.machine import Result


class Server(socketserver.ThreadingUnixStreamServer):
    """A server that wants a body once ``wants`` is set."""

    def __init__(self, path: str) -> None:
        super().__init__(path, Handler)
        self.wants = threading.Event()


class Handler(BaseHTTPRequestHandler):
    """Answers with the body."""

    protocol_version = "HTTP/1.1"
    server: Server

    def handle_expect_100(self):
        assert self.server.wants.wait(60)
        return super().handle_expect_100()

    def do_POST(self):
        size = int(self.rfile.readline(), 16)
        body = self.rfile.read(size)
        self.rfile.read(2 + len("0\r\n\r\n"))
        answer = json.dumps([self.path, json.loads(body)]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def address_string(self):
        return "unix"

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    with Server(str(tmp_path / "socket")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join(60)


@pytest.fixture
def member(server, tmp_path):
    """This computer, with its own folder for requests and a shell in place of systemd."""
    running = []

    def run(command, *, stdin=None, check=False):
        line = command.replace("/run/held-request", f"{tmp_path}/held-request")
        before, systemd, rest = line.partition("systemd-run")
        if systemd:
            folder, shell = before.split()[1], rest.partition(" sh -c ")[2].strip('"')
            assert run(f"{before} true").ok
            running.append(subprocess.Popen(["sh", "-c", shell], cwd=folder))
            return Result(0, "", "")
        done = subprocess.run(["sh", "-c", line], input=stdin, capture_output=True, text=True, check=check)
        return Result(done.returncode, done.stdout, done.stderr)

    yield SimpleNamespace(name="m1", facts=SimpleNamespace(socket=server.server_address), run=run)
    for process in running:
        process.wait(60)


def test_the_body_is_held_until_it_is_released(member, server):
    request = HeldRequest(member, "networks", {"name": "it's"})
    with pytest.raises(NotObservedError, match="m1 waits for the body of POST"):
        request.wait_held(within=0.2)
    server.wants.set()
    request.wait_held()
    assert request.answer() is None
    request.release()
    assert json.loads(eventually(request.answer, within=60)) == ["/1.0/networks", {"name": "it's"}]


def test_each_request_has_its_own_folder(member, server):
    server.wants.set()
    requests = [HeldRequest(member, "networks", number) for number in range(2)]
    for request in requests:
        request.wait_held()
        request.release()
    answers = [json.loads(eventually(request.answer, within=60)) for request in requests]
    assert answers == [["/1.0/networks", 0], ["/1.0/networks", 1]]


def test_a_connection_that_breaks_is_an_empty_answer(member):
    member.facts.socket = "/nonexistent/socket"
    request = HeldRequest(member, "networks", 1)
    # What was begun ends when the pipe has been opened and closed.
    request.release()
    assert eventually(request.answer, lambda answer: answer is not None, within=60) == ""
