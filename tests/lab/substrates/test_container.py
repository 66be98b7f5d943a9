"""The container substrate: what is asked of the lab host, and whose fault a failure is."""

from __future__ import annotations

import json
import threading
from ipaddress import ip_address
from pathlib import Path

import pytest

from clusterproof.lab.core.errors import LabError
from clusterproof.lab.core.runs import owner
from clusterproof.lab.host.endpoint import Endpoint
from clusterproof.lab.host.host import Host
from clusterproof.lab.substrates import container as containers
from clusterproof.lab.substrates.container import Container
from clusterproof.lab.substrates.machine import CommandTimeoutError, Result, Watched
from tests.fakes import CATALOGUE, INCUS_604, FakeServer, Refusal, image, lab_host

SNAP = CATALOGUE.get("lxd@rehearsal/5.0.2")
SPENT = threading.Event()  # is never set: waiting for it takes a command's whole time


@pytest.fixture(params=["incus", "lxd"])
def server(request):
    with FakeServer(product=request.param) as running:
        running.images["clusterproof"][image().fingerprint] = {"fingerprint": image().fingerprint}
        yield running


@pytest.fixture
def host(server, tmp_path, monkeypatch) -> Host:
    return lab_host(server, tmp_path, monkeypatch)


@pytest.fixture
def container(host) -> Container:
    return Container(host, "cp-r1-m1", image())


@pytest.fixture
def booted(container) -> Container:
    container.create()
    container.start()
    return container


def instance(server) -> dict:
    return server.instances["clusterproof"]["cp-r1-m1"]


def last_exec(server) -> dict:
    return server.asked("POST instances/cp-r1-m1/exec")[-1].body


def test_what_is_made_carries_the_run(container, server, host):
    container.create()
    mine = {"user.clusterproof.run": "r1", "user.clusterproof.owner": owner()}
    volume = server.volumes["clusterproof"]["cp-r1-m1-state"]
    assert mine.items() <= volume["config"].items()
    assert mine.items() <= instance(server)["config"].items()
    assert instance(server)["status"] == "Stopped"
    assert instance(server)["source"] == {"type": "image", "fingerprint": "f1" * 32}
    assert instance(server)["devices"]["state"] == {
        "type": "disk",
        "pool": "clusterproof",
        "source": "cp-r1-m1-state",
        "path": "/var/lib/incus",
    }
    lxc = instance(server)["config"]["raw.lxc"].splitlines()
    assert f"lxc.net.0.ipv4.address={container.address}/20" in lxc
    assert f"lxc.net.0.ipv4.gateway={host.gateway.ip}" in lxc
    assert not container.should_run


def test_every_machine_has_an_address_of_its_own(host):
    made = [Container(host, f"c{n}", image()) for n in range(5)]
    assert len({one.address for one in made}) == 5
    assert all(ip_address(one.address) in host.gateway.network for one in made)


def test_the_product_s_api_is_reached_over_the_bridge(container, server):
    assert container.endpoint == f"https://{container.address}:8443"
    container.create()
    assert "api" not in instance(server)["devices"]


def test_a_host_elsewhere_passes_the_product_s_api_on(host, server):
    host.endpoint = Endpoint("https://server.example:8443")
    container = Container(host, "cp-r1-m1", image())
    container.create()
    proxy = instance(server)["devices"]["api"]
    port = int(proxy["listen"].rpartition(":")[2])
    assert container.endpoint == f"https://server.example:{port}"
    assert (proxy["type"], proxy["bind"]) == ("proxy", "host")
    assert proxy["connect"] == f"tcp:{container.address}:8443"
    assert 1024 < port < 65536


def test_power(booted, server):
    assert booted.running()
    assert booted.should_run
    booted.stop(force=True)
    assert server.asked("PUT instances/cp-r1-m1/state")[-1].body["force"] is True
    assert not booted.running()
    assert not booted.should_run
    booted.start()
    booted.stop(timeout=12)
    stopped = server.asked("PUT instances/cp-r1-m1/state")[-1].body
    assert stopped == {"action": "stop", "force": False, "timeout": 12}


def test_a_member_that_is_never_up(container, server, monkeypatch):
    monkeypatch.setattr(containers, "BOOT", 0.05)

    def hang(*_):
        SPENT.wait(0.06)
        return 124, "", ""

    server.run = hang
    container.create()
    with pytest.raises(LabError, match="member cp-r1-m1 did not boot"):
        container.start()


def test_a_member_that_dies_while_it_boots(container, server):
    server.run = lambda *_: (-1, "", "")
    container.create()
    with pytest.raises(LabError, match="member cp-r1-m1 did not boot"):
        container.start()


def test_a_member_that_does_not_start(container, server):
    container.create()
    server.say["PUT instances/cp-r1-m1/state"] = Refusal(500, "Failed to run: forkstart")
    with pytest.raises(LabError, match=r"cannot start member cp-r1-m1: .*forkstart"):
        container.start()
    assert not container.should_run


def test_another_image_over_the_kept_volume(booted, server):
    server.volumes["clusterproof"]["cp-r1-m1-state"]["content"] = "the product's state"
    address = booted.address
    older = image(INCUS_604, schema=73)
    booted.reimage(older)
    assert booted.image is older
    assert instance(server)["status"] == "Stopped"
    assert not booted.should_run
    assert server.volumes["clusterproof"]["cp-r1-m1-state"]["content"] == "the product's state"
    assert "DELETE storage-pools/clusterproof/volumes/custom/cp-r1-m1-state" not in server.lines()
    assert len(server.asked("POST storage-pools/clusterproof/volumes/custom")) == 1
    assert instance(server)["config"]["user.clusterproof.address"] == address == booted.address
    assert instance(server)["devices"]["state"]["source"] == "cp-r1-m1-state"


def test_destroying_removes_instance_volume_and_address(booted, server, host):
    booted.destroy()
    assert server.instances["clusterproof"] == {}
    assert server.volumes["clusterproof"] == {}
    assert host.run.reserve(booted.address)
    booted.destroy()


def test_what_was_never_made_can_be_destroyed(container, host):
    container.destroy()
    assert host.run.reserve(container.address)


def test_a_machine_that_is_gone(container):
    with pytest.raises(LabError, match=r"cannot inspect member cp-r1-m1: .*not found"):
        container.running()


def test_the_host_refuses_to_make_it(container, server):
    server.say["POST instances"] = Refusal(500, "no space left on device")
    with pytest.raises(LabError, match=r"cannot create member cp-r1-m1: .*no space left"):
        container.create()


# Commands


def test_a_command_has_its_time_limit_inside(booted, server):
    server.run = lambda *_: (3, "out\n", "err\n")
    assert booted.execute(["incus", "list", "a b"], timeout=7.5) == Result(3, "out\n", "err\n")
    asked = last_exec(server)
    assert asked["command"] == ["timeout", "--kill-after=5", "7.5", "incus", "list", "a b"]
    assert asked["record-output"] is True
    assert asked["interactive"] is False
    assert asked["environment"]["LC_ALL"] == "C.UTF-8"


class FakeNamespaces:
    """Those of a container on this machine, whose commands are kept in ``commands``."""

    pid, began = 4711, "12.50"

    def __init__(self) -> None:
        self.up = True
        self.group: Path | None = None
        self.commands: list = []
        self.answer: Result | Exception = Result(0, "inside\n", "")
        self.files: dict[str, tuple[bytes, int]] = {}

    def alive(self) -> bool:
        return self.up

    def run(self, argv, *, timeout, stdin=None) -> Result:
        self.commands.append((argv, timeout, stdin))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def read(self, path, *, timeout) -> bytes | None:
        assert timeout
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.files[path][0] if path in self.files else None

    def write(self, path, content, mode, *, timeout) -> None:
        assert timeout
        if isinstance(self.answer, Exception):
            raise self.answer
        self.files[path] = content, mode


@pytest.fixture
def inside(monkeypatch, container) -> FakeNamespaces:
    found = FakeNamespaces()
    known = {"clusterproof_cp-r1-m1": found}
    monkeypatch.setattr("clusterproof.lab.substrates.namespaces.of", known.get)
    container.create()
    container.start()
    found.commands.clear()
    return found


def test_a_container_on_this_machine_is_entered_directly(container, inside, server):
    assert container.execute(["cat"], timeout=7.5, stdin=b"secret") == Result(0, "inside\n", "")
    assert inside.commands == [(["timeout", "--kill-after=5", "7.5", "cat"], 22.5, b"secret")]
    assert not server.asked("POST instances/cp-r1-m1/exec")
    assert not server.asked("POST instances/cp-r1-m1/files")


def test_one_whose_first_process_ended_does_not_run_also_before_the_server_knows(
    container, inside, server, monkeypatch
):
    assert container.running()
    inside.up = False
    # It was started again from inside.
    assert container.running()
    monkeypatch.setattr("clusterproof.lab.substrates.namespaces.of", {}.get)
    assert instance(server)["status"] == "Running"
    assert not container.running()


def test_what_is_watched_are_the_first_process_and_those_of_the_service(container, inside, tmp_path):
    assert container.watched() == Watched(4711, "12.50", container.address, None)
    inside.group = tmp_path / "lxc.payload.c/clusterproof/cgroup.procs"
    service = tmp_path / "lxc.payload.c/system.slice" / image().facts.units.service / "cgroup.procs"
    assert container.watched().service == service
    container.image = image(SNAP)
    assert container.watched().service == service.parent.with_name("snap.lxd.daemon.service") / service.name
    assert container.watched().server == "/var/snap/lxd/common/lxd.pid"
    inside.up = False
    assert container.watched() is None


def test_one_that_is_not_on_this_computer_is_not_watched(booted):
    assert booted.watched() is None


def test_one_whose_first_process_is_another_is_entered_through_the_server(container, inside, server):
    inside.up = False
    server.run = lambda *_: (0, "asked\n", "")
    assert container.execute(["true"], timeout=5).stdout == "asked\n"
    assert not inside.commands


@pytest.mark.parametrize("change", ["stop", "freeze"])
def test_one_that_does_not_run_any_more_is_not_entered(container, inside, server, change):
    getattr(container, change)()
    server.run = lambda *_: pytest.fail("no command runs in it")
    with pytest.raises(LabError, match=r"member cp-r1-m1: .*: Instance is not running"):
        container.execute(["true"], timeout=5)
    assert not inside.commands
    assert server.asked("POST instances/cp-r1-m1/exec")


@pytest.mark.parametrize(
    "error",
    [
        LabError("nsenter: no"),
        OSError(28, "No space left on device"),
        FileNotFoundError(2, "No usable temporary directory found"),
    ],
)
def test_one_that_cannot_be_entered_is_the_lab_s_fault(container, inside, error):
    inside.answer = error
    with pytest.raises(LabError, match=r"^cannot run a command in member cp-r1-m1: .*(nsenter|No )"):
        container.execute(["true"], timeout=5)


    with pytest.raises(LabError, match=r"^cannot read /x of member cp-r1-m1: .*(nsenter|No )"):
        container.read("/x")
    with pytest.raises(LabError, match=r"^cannot write /x of member cp-r1-m1: .*(nsenter|No )"):
        container.write("/x", b"")


def test_files_of_a_container_on_this_machine(container, inside, server):
    container.write("/etc/x", b"\x00\xff", 0o755)
    assert inside.files == {"/etc/x": (b"\x00\xff", 0o755)}
    assert container.read("/etc/x") == b"\x00\xff"
    with pytest.raises(FileNotFoundError, match=r"^cp-r1-m1 has no file /etc/y$"):
        container.read("/etc/y")
    assert not server.asked("POST instances/cp-r1-m1/files")
    assert not server.asked("GET instances/cp-r1-m1/files")


def test_a_limit_that_ended_a_command_inside(container, inside):
    inside.answer = Result(124, "so far", "")
    assert container.execute(["x"], timeout=5) == inside.answer  # its own status, so soon
    with pytest.raises(CommandTimeoutError, match="still running"):
        container.execute(["x"], timeout=0)


def test_output_that_is_no_text(booted, server):
    server.run = lambda *_: (0, b"caf\xe9\x00", b"\xff")
    result = booted.execute(["cat", "/x"], timeout=5)
    assert (result.stdout, result.stderr) == ("caf\ufffd\x00", "\ufffd")


def test_stdin_is_a_file_that_only_root_may_read(booted, server):
    booted.execute(["incus", "admin", "init", "--preseed"], timeout=5, stdin=b"secret: \xff\n")
    upload = server.asked("POST instances/cp-r1-m1/files")[-1]
    assert upload.body == b"secret: \xff\n"
    assert upload.headers["x-incus-mode"] == "0600"
    shell, flag, script, name, path, *command = last_exec(server)["command"]
    assert (shell, flag, name) == ("sh", "-c", "sh")
    assert path == upload.query["path"]
    assert 'exec "$@"' in script
    assert command == ["timeout", "--kill-after=5", "5", "incus", "admin", "init", "--preseed"]


def test_every_stdin_is_a_file_of_its_own_also_when_empty(booted, server):
    for content in (b"", b"a"):
        booted.execute(["cat"], timeout=5, stdin=content)
    uploads = server.asked("POST instances/cp-r1-m1/files")
    assert [upload.body for upload in uploads] == [b"", b"a"]
    assert len({upload.query["path"] for upload in uploads}) == 2


@pytest.mark.parametrize("status", [0, 1, 125, 126, 127, 130, 143, 255])
def test_a_command_s_own_status_is_its_result(booted, server, status):
    server.run = lambda *_: (status, "", "")
    assert booted.execute(["x"], timeout=5).rc == status


@pytest.mark.parametrize(
    ("words", "status"), [("Command not found", 127), ("Command not executable", 126)]
)
def test_a_command_that_is_not_there_ends_as_the_shell_says(booted, server, words, status):
    def refuse(*_):
        raise Refusal(400, words)

    server.run = refuse
    result = booted.execute(["/opt/nothing"], timeout=5)
    assert result == Result(status, "", f"/opt/nothing: {words.lower()}")


@pytest.mark.parametrize(("refused", "runs"), [(1, 2), (2, 3)])
def test_a_command_that_was_not_begun_is_given_again(booted, server, refused, runs):
    asked = []

    def run(*_):
        asked.append(1)
        if len(asked) <= refused:
            raise Refusal(500, "Failed to retrieve PID of executing child process")
        return 0, "out", ""

    server.run = run
    assert booted.execute(["true"], timeout=5).stdout == "out"
    assert len(asked) == runs


def test_a_command_that_is_never_begun_is_the_lab_s_fault(booted, server):
    def run(*_):
        raise Refusal(500, "Failed to retrieve PID of executing child process")

    server.run = run
    with pytest.raises(LabError, match=r"cannot run a command in member cp-r1-m1.*retrieve PID"):
        booted.execute(["true"], timeout=5)


@pytest.mark.parametrize("status", [124, 137])
def test_a_command_that_takes_too_long(booted, server, status):
    def hang(*_):
        SPENT.wait(0.06)
        return status, "begun\n", "warned\n"

    server.run = hang
    with pytest.raises(CommandTimeoutError) as caught:
        booted.execute(["incus", "list"], timeout=0.05)
    message = str(caught.value)
    assert message.startswith("cp-r1-m1: 'incus list' was still running after 0.05 s")
    assert "begun" in message
    assert "warned" in message


@pytest.mark.parametrize("status", [124, 137])
def test_a_command_that_ends_with_such_a_status_by_itself_was_not_too_slow(booted, server, status):
    # What a command that was killed, or that calls timeout(1) itself, ends with long before its time.
    server.run = lambda *_: (status, "", "Killed\n")
    assert booted.execute(["incus", "list"], timeout=30) == Result(status, "", "Killed\n")


def test_secrets_at_the_cut_of_a_time_out_s_words(booted, server):
    body = "Base64OfThePrivateKey0123456789ABCDEF\n" * 20
    key = f"-----BEGIN EC PRIVATE KEY-----\n{body}-----END EC PRIVATE KEY-----\n"

    def hang(*_):
        SPENT.wait(0.06)
        return 124, key, ""

    server.run = hang
    with pytest.raises(CommandTimeoutError) as caught:
        booted.execute(["cat", "/key"], timeout=0.05)
    assert "Base64OfThePrivateKey" not in str(caught.value)


@pytest.mark.parametrize(
    "refusal", [Refusal(500, "Failed to retrieve PID of executing child"), Refusal(403, "not authorized")]
)
def test_a_host_that_refuses_is_the_lab_s_fault(booted, server, refusal):
    server.say["POST instances/cp-r1-m1/exec"] = refusal
    with pytest.raises(LabError, match="cannot run a command in member cp-r1-m1"):
        booted.execute(["true"], timeout=5)


def test_a_host_that_is_gone_is_the_lab_s_fault(booted, server):
    server.stop()
    with pytest.raises(LabError, match="cannot run a command"):
        booted.execute(["true"], timeout=5)
    with pytest.raises(LabError, match="cannot read /x"):
        booted.read("/x")
    with pytest.raises(LabError, match="cannot write /x"):
        booted.write("/x", b"")
    with pytest.raises(LabError, match="cannot inspect"):
        booted.running()


def test_output_that_the_host_lost_is_the_lab_s_fault(booted, server):
    def lose(*_):
        server.files = Forgetful()
        return 0, "out", "err"

    class Forgetful(dict):
        def __setitem__(self, *_: object) -> None:
            """Keep nothing."""

    server.run = lose
    with pytest.raises(LabError, match="cannot read the output of member cp-r1-m1"):
        booted.execute(["true"], timeout=5)


# Files


def test_a_file_is_written_as_root_for_both_products(booted, server):
    booted.write("/etc/x y", b"\x00\xff", 0o755)
    upload = server.asked("POST instances/cp-r1-m1/files")[-1]
    assert upload.query == {"path": "/etc/x y", "project": "clusterproof"}
    assert upload.body == b"\x00\xff"
    for product in ("incus", "lxd"):
        headers = {
            key: upload.headers[f"x-{product}-{key}"] for key in ("uid", "gid", "mode", "type", "write")
        }
        assert headers == {"uid": "0", "gid": "0", "mode": "0755", "type": "file", "write": "overwrite"}


def test_what_was_written_can_be_read(booted):
    booted.write("/etc/x", b"\x00\xff")
    assert booted.read("/etc/x") == b"\x00\xff"
    with pytest.raises(FileNotFoundError, match="cp-r1-m1 has no file /etc/y"):
        booted.read("/etc/y")


def test_a_file_that_the_host_cannot_give_is_the_lab_s_fault(booted, server):
    server.say["GET instances/cp-r1-m1/files"] = Refusal(500, "sftp: broken pipe")
    with pytest.raises(LabError, match=r"cannot read /x of member cp-r1-m1: .*broken pipe"):
        booted.read("/x")


def test_what_is_done_is_in_the_transcript(booted, host):
    booted.execute(["true"], timeout=5)
    host.transcript.flush()
    steps = [json.loads(line) for line in host.transcript.path.read_text().splitlines()]
    assert {"POST /1.0/instances", "POST /1.0/instances/cp-r1-m1/exec"} <= {step["what"] for step in steps}
