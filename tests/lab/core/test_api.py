"""The REST API over a unix socket and https: answers, operations, refusals, silence."""

from __future__ import annotations

import http.server
import json
import socket
import ssl
import threading

import pytest

from clusterproof.lab.cluster.certificates import make_certificate
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.transcript import Transcript
from tests.fakes import FAILURE, RUNNING, Answer, FakeServer, Operation, Raw, Refusal


@pytest.fixture
def server(request):
    with FakeServer(product=getattr(request, "param", "incus")) as running:
        yield running


@pytest.fixture
def transcript(tmp_path) -> Transcript:
    return Transcript(tmp_path / "transcript.jsonl")


@pytest.fixture
def api(server, transcript):
    api = Api(str(server.socket), name="m1", transcript=transcript, timeout=5)
    yield api
    api.close()


def steps(transcript: Transcript) -> list[dict]:
    transcript.flush()
    return [json.loads(line) for line in transcript.path.read_text().splitlines()]


def test_a_synchronous_answer(api, server):
    server.networks["br0"] = {"name": "br0"}
    assert api.get("networks/br0") == {"name": "br0"}
    assert api.get("networks", recursion=1) == [{"name": "br0"}]
    assert server.calls[-1].query == {"recursion": "1"}
    assert api.get("")["auth"] == "trusted"
    assert api.delete("networks/br0") is None


def test_a_body_is_sent_as_json(api, server):
    assert api.post("networks", {"name": "br0"}) is None
    server.say["PUT networks/br0"] = server.say["PATCH networks/br0"] = Answer({})
    api.put("networks/br0", {"description": "ü"})
    api.patch("networks/br0", {"config": {"a": "b"}})
    api.put("networks/br0")
    bodies = [call.body for call in server.calls if call.method in ("POST", "PUT", "PATCH")]
    assert bodies == [{"name": "br0"}, {"description": "ü"}, {"config": {"a": "b"}}, {}]


@pytest.mark.parametrize("method", ["post", "put", "delete"])
def test_an_operation_is_waited_for(api, server, method):
    server.say[f"{method.upper()} cluster/members/m2"] = Operation("Doing", {"answer": 42})
    done = getattr(api, method)("cluster/members/m2", timeout=7)
    assert (done["status_code"], done["metadata"]) == (200, {"answer": 42})
    wait = server.calls[-1]
    assert wait.path.endswith("/wait")
    assert wait.query == {"timeout": "7"}


def test_an_operation_in_a_project(server, transcript):
    server.projects["clusterproof"] = {"name": "clusterproof", "config": {}}
    api = Api(str(server.socket), name="host", transcript=transcript, project="clusterproof")
    api.post("instances", {"name": "c1"})
    assert server.instances["clusterproof"]["c1"]["status"] == "Stopped"
    assert all(call.query.get("project") == "clusterproof" for call in server.calls)


def test_an_operation_that_is_only_begun(api, server):
    begun = api.begin("cluster/members", {"server_name": "m2"})
    assert begun["metadata"]["serverName"] == "m2"
    assert begun["status_code"] == RUNNING
    assert not server.calls[-1].path.endswith("/wait")


@pytest.mark.parametrize(
    ("server", "says", "status"),
    [("lxd", "Creating instance", FAILURE), ("incus", "POST /1.0/instances", 404)],
    indirect=["server"],
)
def test_an_operation_that_fails(api, server, says, status):
    server.say["POST instances"] = Operation("Creating instance", err="No pool", code=FAILURE, failed=404)
    with pytest.raises(ApiError, match=f"^m1: {says}: No pool$") as caught:
        api.post("instances", {"name": "c1"})
    assert caught.value.status == status


def test_an_operation_that_is_not_done_in_time(api, server):
    server.say["POST instances"] = Operation("Creating instance", code=RUNNING)
    with pytest.raises(ApiError, match='m1: operation "Creating instance" is not done after 3 s') as caught:
        api.post("instances", {"name": "c1"}, timeout=3.5)
    assert caught.value.status == 0


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, "Network not found"), (400, "Bad name"), (409, "Exists"), (403, "not authorized"), (500, "oh")],
)
def test_a_refusal_has_the_server_s_words_and_status(api, server, status, error):
    server.say["GET networks/br0"] = Refusal(status, error)
    with pytest.raises(ApiError) as caught:
        api.get("networks/br0")
    assert str(caught.value) == f"m1: GET /1.0/networks/br0: {error}"
    assert caught.value.status == status


def test_files_are_raw(api, server):
    server.files["c1", "/etc/x"] = b"\x00\xff binary"
    assert api.raw("instances/c1/files", path="/etc/x") == b"\x00\xff binary"
    with pytest.raises(ApiError, match=r"GET /1.0/instances/c1/files: Not Found") as caught:
        api.raw("instances/c1/files", path="/etc/y")
    assert caught.value.status == 404


def test_uploads_carry_bytes_and_headers(api, server, transcript):
    api.upload("instances/c1/files", b"\x00content", {"X-Incus-mode": "0600"}, path="/etc/x")
    assert server.files["c1", "/etc/x"] == b"\x00content"
    assert server.calls[-1].headers["x-incus-mode"] == "0600"
    assert steps(transcript)[-1]["body"] == "[8 bytes]"


def test_a_secret_is_redacted_before_a_long_answer_is_cut(api, server, transcript):
    token = "eyJ" + "c2VjcmV0" * 40
    for ahead in range(600, 1400, 50):
        server.say["GET networks"] = Answer([{"description": "x" * ahead, "token": token, "more": "y" * 2000}])
        api.get("networks")
        answer = steps(transcript)[-1]["answer"]
        assert "characters left out" in answer
        assert "c2VjcmV0" not in answer


@pytest.mark.parametrize("content", [b"<html>Bad gateway</html>", b"", b"{", b"[]", b'"text"', b"{}"])
@pytest.mark.parametrize("method", ["get", "post"])
def test_an_answer_that_is_none(api, server, content, method):
    server.say[f"{method.upper()} networks"] = Raw(content)
    with pytest.raises(ApiError, match=rf"m1: .*{method.upper()} /1\.0/networks") as caught:
        getattr(api, method)("networks")
    assert "\n" not in str(caught.value)


def test_an_answer_that_is_no_json_says_so(api, server):
    server.say["GET networks"] = Raw(b"<html>Bad gateway</html>", type="text/html")
    with pytest.raises(ApiError, match="not JSON"):
        api.get("networks")


@pytest.mark.parametrize("content", [b"<html>It works</html>", b"", b"[]", b"{}", b'{"type": "sync"}'])
def test_something_else_listens_there(server, transcript, content):
    server.say["GET "] = Raw(content)
    with pytest.raises(ApiError, match="m1 "):
        Api(str(server.socket), name="m1", transcript=transcript)


def test_no_socket(tmp_path, transcript):
    with pytest.raises(ApiError, match=r"m1 does not answer at .*/unix.socket: ") as caught:
        Api(str(tmp_path / "unix.socket"), name="m1", transcript=transcript)
    assert caught.value.status == 0


def test_a_socket_that_nobody_listens_at(server, transcript):
    server.stop()
    with pytest.raises(ApiError, match=r"m1 does not answer at .*[Cc]onnection refused"):
        Api(str(server.socket), name="m1", transcript=transcript)


def test_a_server_that_is_silent(transcript, server):
    path = str(server.folder / "silent")
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(path)
        silent.listen()
        with pytest.raises(ApiError, match=r"m1 does not answer at .*timed out"):
            Api(path, name="m1", transcript=transcript, timeout=0.05)


def test_a_server_that_dies(api, server):
    server.stop()
    with pytest.raises(ApiError, match=r"m1: GET /1.0/networks: ") as caught:
        api.get("networks")
    assert caught.value.status == 0


def test_a_call_that_takes_too_long(server, transcript):
    api = Api(str(server.socket), name="m1", transcript=transcript)
    api.timeout = 0.05
    over = threading.Event()

    def hang(_):
        over.wait(10)
        return Answer()

    server.say["GET networks"] = hang
    try:
        with pytest.raises(ApiError, match=r"m1: GET /1\.0/networks: .*timed out"):
            api.get("networks")
    finally:
        over.set()


def test_every_call_is_a_step(api, server, transcript):
    server.networks["br0"] = {"name": "br0"}
    api.get("networks/br0", recursion=1)
    api.post("instances", {"name": "c1"})
    with pytest.raises(ApiError):
        api.get("networks/br1")
    got, made, missing = steps(transcript)
    assert (got["verb"], got["target"], got["status"]) == ("api", "m1", 200)
    assert got["what"] == "GET /1.0/networks/br0?recursion=1"
    assert made["what"] == "POST /1.0/instances"
    assert json.loads(made["body"]) == {"name": "c1"}
    assert missing["status"] == 404
    assert "Network not found" in missing["error"]


def test_tokens_do_not_reach_the_transcript(api, transcript):
    token = api.begin("cluster/members", {"server_name": "m2"})
    transcript.flush()
    assert token["metadata"]["secret"] not in transcript.path.read_text()


def test_several_threads(api, server):
    server.networks["br0"] = {"name": "br0"}
    failures = []

    def ask():
        try:
            for _ in range(10):
                assert api.get("networks/br0") == {"name": "br0"}
        except Exception as error:  # noqa: BLE001
            failures.append(error)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


class Silent(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that are refused."""


class Secure(http.server.BaseHTTPRequestHandler):
    """Answers GET /1.0 only."""

    def do_GET(self) -> None:
        info = {"auth": "trusted", "api_extensions": ["projects"], "environment": {"server": "incus"}}
        content = json.dumps({"type": "sync", "status_code": 200, "metadata": info}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing of requests."""


@pytest.fixture
def secure(tmp_path):
    """A server with a certificate of its own that asks for the client's."""
    own, clients = make_certificate(tmp_path, "server"), make_certificate(tmp_path, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*own)
    context.load_verify_locations(clients[0])
    context.verify_mode = ssl.CERT_REQUIRED
    # The certificate is pinned, so nobody cares what it is for.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    server = Silent(("127.0.0.1", 0), Secure)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"https://127.0.0.1:{server.server_address[1]}", own[0], clients
    server.shutdown()
    server.server_close()


def test_https_with_certificates_on_both_sides(secure, transcript, monkeypatch, tmp_path):
    url, own, clients = secure
    # A bundle of authorities in the environment must not stand in for the pinned certificate.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("CURL_CA_BUNDLE", str(tmp_path / "missing.pem"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    api = Api(url, name="m1", transcript=transcript, cert=clients, server_cert=own, timeout=5)
    assert api.get("")["auth"] == "trusted"
    api.close()


def test_https_with_another_server_than_the_known_one(secure, transcript, tmp_path):
    url, _, clients = secure
    other = make_certificate(tmp_path, "other")[0]
    with pytest.raises(ApiError, match=rf"m1 does not answer at {url}: ") as caught:
        Api(url, name="m1", transcript=transcript, cert=clients, server_cert=other, timeout=5)
    assert "ingerprint" in str(caught.value)


def test_https_with_a_server_that_no_authority_knows(secure, transcript):
    url, _, clients = secure
    with pytest.raises(ApiError, match=rf"m1 does not answer at {url}: ") as caught:
        Api(url, name="m1", transcript=transcript, cert=clients, timeout=5)
    assert "certificate" in str(caught.value).lower()
