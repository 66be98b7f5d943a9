"""Harmless places on a cluster: what is sent from there, what is left, and how leftovers are found."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.exit_status import ExitStatus
from clusterproof.lab.builds import catalogue
from clusterproof.lab.cluster import existing_cluster, tenant
from clusterproof.lab.cluster.existing_cluster import ExistingCluster
from clusterproof.lab.cluster.tenant import Door, HarmError, HarmlessApi, Tenant
from clusterproof.lab.core.api import Api, ApiError
from clusterproof.lab.core.errors import LabError, UsageError
from clusterproof.lab.core.runs import Run
from clusterproof.lab.core.runs import owner as this_owner
from clusterproof.lab.core.transcript import Transcript
from tests.fakes import Answer, FakeCheckout, FakeServer, Refusal

pytest_plugins = ["pytester"]


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    with FakeServer(version="7.0.2") as running:
        running.info["environment"] |= {"server_clustered": True, "server_name": "m1"}
        running.members = {
            name: {"server_name": name, "status": status}
            for name, status in (("m1", "Online"), ("m2", "Online"), ("m3", "Offline"))
        }
        running.pools["local"] = {"name": "local"}
        profile = {"devices": {"root": {"type": "disk", "path": "/", "pool": "local"}}}
        running.say["GET profiles/default"] = Answer(profile)
        yield running


@pytest.fixture
def door(server) -> Door:
    return Door(str(server.socket), (Path("c"), Path("k")))


@pytest.fixture
def place(door) -> Tenant:
    run = Run("20260302T210400Z-ab12")
    run.hold()
    return Tenant(run, {"m1": door}, ("m1", "m2"), "local", Transcript())


def changes(server: FakeServer) -> list[str]:
    return server.lines("POST", "PUT", "PATCH", "DELETE")


class TestPlace:
    def test_is_a_restricted_project_that_carries_the_runs_id(self, server, place):
        place.open()
        (made,) = [p for name, p in server.projects.items() if name != "default"]
        assert made["name"].startswith("clusterproof-20260302t210400z-ab12-")
        assert made["config"]["restricted"] == "true"
        assert made["config"]["user.clusterproof.run"] == "20260302T210400Z-ab12"
        assert changes(server) == ["POST projects"]

    def test_leaves_nothing(self, server, place):
        place.open()
        place.create("c1", "m2")
        server.volumes[place.project]["v1"] = {"name": "v1", "location": "m2", "config": {}}
        server.images[place.project]["fab1e5"] = {"fingerprint": "fab1e5"}
        place.close()
        assert list(server.projects) == ["default"]
        assert not server.instances[place.project]
        assert not server.volumes[place.project]
        assert not server.images[place.project]
        (deleted,) = server.asked("DELETE storage-pools/local/volumes/custom/v1")
        assert deleted.query["target"] == "m2"

    def test_that_was_never_made_is_closed_all_the_same(self, server, place):
        place.close()
        assert changes(server) == []

    def test_that_the_server_does_not_restrict_is_given_up(self, server, place):
        def without(call):
            name = call.body["name"]
            config = {k: v for k, v in call.body["config"].items() if k != "restricted"}
            server.projects[name] = {"name": name, "config": config}
            return Answer(status=201)

        server.say["POST projects"] = without
        with pytest.raises(LabError, match="with other settings; it was removed"):
            place.open()
        assert list(server.projects) == ["default"]

    def test_of_another_run_is_not_removed(self, server, place):
        config = {"user.clusterproof": "true", "user.clusterproof.run": "of-another"}
        server.projects[place.project] = {"name": place.project, "config": config}
        with pytest.raises(LabError, match=r"was not made by run .*, and is left alone"):
            place.close()
        assert place.project in server.projects

    def test_makes_containers_where_it_is_told(self, server, place):
        place.open()
        place.create("c1", "m2")
        (call,) = server.asked("POST instances")
        assert call.query == {"project": place.project, "target": "m2"}
        assert call.body["source"] == {"type": "none"}


class TestClearing:
    def leave(self, server: FakeServer, name: str, run: str, owner: str | None = None) -> None:
        config = {
            "user.clusterproof": "true",
            "user.clusterproof.run": run,
            "user.clusterproof.owner": owner or this_owner(),
        }
        server.projects[name] = {"name": name, "config": config}

    def test_removes_what_dead_runs_of_this_machine_left_and_nothing_else(self, server, door):
        alive = Run("alive")
        alive.hold()
        self.leave(server, "p-dead", "dead")
        self.leave(server, "p-alive", "alive")
        self.leave(server, "p-elsewhere", "dead", owner="another machine")
        server.projects["theirs"] = {"name": "theirs", "config": {}}
        server.instances["p-dead"]["c1"] = {"name": "c1", "status": "Running", "config": {}}
        lines = tenant.clear(door.api(Transcript()))
        assert lines == ["run dead: project p-dead removed, with 1 instances and volumes"]
        assert set(server.projects) == {"default", "p-alive", "p-elsewhere", "theirs"}

    def test_tries_all_before_it_says_what_stays(self, server, door):
        self.leave(server, "p1", "dead")
        self.leave(server, "p2", "dead")
        server.say["DELETE projects/p1"] = Refusal(400, "in use")
        with pytest.raises(LabError, match=r"not everything could be removed: project p1.*in use"):
            tenant.clear(door.api(Transcript()))
        assert "p2" not in server.projects


NAMES = st.text(string.ascii_letters + string.digits + "-._", min_size=1, max_size=8)
PATHS = st.lists(
    st.sampled_from(
        ["instances", "projects", "cluster", "members", "state", "files", "certificates", "storage-pools",
         "volumes", "custom", "networks", "profiles", "default", "images", "..", "", "p?x", "%2e", "snapshots"]
    )
    | NAMES,
    max_size=6,
).map("/".join)  # fmt: skip


class TestGuard:
    @pytest.fixture
    def api(self, server) -> HarmlessApi:
        return HarmlessApi(str(server.socket), name="m1", transcript=Transcript(), project="p")

    @given(PATHS, st.sampled_from(["post", "put", "patch", "delete"]))
    def test_lets_out_nothing_but_instances_and_custom_volumes(self, path, method):
        api = object.__new__(HarmlessApi)
        try:
            api._permit(method.upper(), path, None, {})
        except HarmError:
            return
        parts = path.split("/")
        assert ".." not in parts
        assert not set("?%#") & set(path)
        assert parts[0] == "instances" or (parts[0], parts[2:4]) == ("storage-pools", ["volumes", "custom"])

    @pytest.mark.parametrize(
        ("method", "path", "body"),
        [
            ("post", "projects", {"name": "x"}),
            ("put", "cluster/members/m1/state", {"action": "evacuate"}),
            ("put", "", {"config": {}}),
            ("post", "certificates", {}),
            ("delete", "storage-pools/local", None),
            ("post", "storage-pools", {}),
            ("put", "profiles/default", {}),
            ("post", "instances/c1/exec", {}),
            ("post", "instances", {"name": "c", "source": {"project": "default"}}),
            ("post", "instances/c1", {"name": "c1", "project": "default"}),
        ],
    )
    def test_refuses_what_changes_more_than_the_project(self, server, api, method, path, body):
        server.calls.clear()
        with pytest.raises(HarmError, match="is not harmless"):
            getattr(api, method)(path, *([body] if body is not None else []))
        assert server.calls == []

    @pytest.mark.parametrize("parameter", ["project", "all-projects"])
    def test_refuses_another_project_also_to_readers(self, server, api, parameter):
        server.calls.clear()
        with pytest.raises(HarmError, match=parameter):
            api.get("instances", **{parameter: "default"})
        with pytest.raises(HarmError, match=parameter):
            api.raw("instances/c1/files", **{parameter: "default"})
        assert server.calls == []

    def test_lets_instances_of_the_project_through(self, server, api):
        server.projects["p"] = {"name": "p", "config": {}}
        api.post("instances", {"name": "c1"}, target="m2")
        assert api.get("instances/c1")["name"] == "c1"
        api.delete("instances/c1")
        assert server.lines("POST", "DELETE") == ["POST instances", "DELETE instances/c1"]


GOOD = """
name = "staging"
endpoints = ["https://m1.example.org:8443"]
certificate = "client.crt"
key = "client.key"
"""


@pytest.fixture
def file(server, tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(
        Door,
        "api",
        lambda self, transcript, name="": Api(str(server.socket), name=name, transcript=transcript),  # noqa: ARG005
    )
    for name in ("client.crt", "client.key"):
        (tmp_path / name).touch()
    path = tmp_path / "cluster.toml"
    path.write_text(GOOD)
    return path


class TestExistingCluster:
    def connect(self, path: Path) -> ExistingCluster:
        return ExistingCluster.connect(path, catalogue.load(), Run("r1"))

    def test_is_only_looked_at(self, server, file):
        found = self.connect(file)
        assert changes(server) == []
        assert found.describe() == (
            "existing cluster staging: incus 7.0.2, 2 members Online, reached through m1"
        )
        assert found.pool == "local"

    def test_its_build_is_what_the_servers_report(self, file):
        build = self.connect(file).build
        assert (build.name, build.track) == ("incus@7.0.2", "7.0")
        assert build.installed(build.version).source == "existing cluster staging"
        assert build.installed(build.version).api_extensions == 2

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ('"https://m1.example.org:8443"', '"http://m1"', r"endpoints\[1\] = 'http://m1': must be like"),
            ('"https://m1.example.org:8443"', "", "endpoints = .*at least 1"),
            ('"staging"', '"a b"', "name = 'a b'"),
            ('key = "client.key"', "", "key: is missing"),
            ('key = "client.key"', 'key = "none.key"', "there is no file .*none.key"),
            ('name = "staging"', 'name = "staging"\nmembers = 3', "members = 3: no such key"),
            ('name = "staging"', "name = staging", "is not TOML"),
        ],
    )
    def test_a_wrong_file_is_one_clear_line(self, file, old, new, says):
        assert old in GOOD
        file.write_text(GOOD.replace(old, new))
        with pytest.raises(UsageError, match=says) as caught:
            self.connect(file)
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize(
        ("facts", "says"),
        [
            ({"auth": "untrusted"}, "does not trust client.crt"),
            ({"environment": {"server_clustered": False}}, "is in no cluster"),
        ],
    )
    def test_a_server_that_cannot_be_used(self, server, file, facts, says):
        for key, value in facts.items():
            server.info[key] = {**server.info[key], **value} if isinstance(value, dict) else value
        with pytest.raises(LabError, match=says):
            self.connect(file)

    def test_endpoints_have_to_be_one_cluster(self):
        seen = [{"environment": {"server": "incus", "server_version": v}} for v in ("7.0.2", "7.0.1")]
        settings = existing_cluster.Settings(name="x", endpoints=["https://a"], certificate="c", key="k")
        with pytest.raises(LabError, match=r"do not agree on server_version: 7\.0\.1, 7\.0\.2"):
            existing_cluster._check_same(settings, seen)

    def test_without_a_pool_says_where_to_name_one(self, server, file):
        server.say["GET profiles/default"] = Answer({"devices": {}})
        with pytest.raises(LabError, match='pool = "NAME"'):
            self.connect(file)


HARMLESS = "@pytest.mark.harmless\ndef test_quiet(tenant): tenant.create('c1', 'm2')\n"
LOUD = "def test_loud(cluster): raise RuntimeError('must not run here')\n"


class TestOption:
    @pytest.fixture
    def checkout(self, pytester, monkeypatch, file, server) -> FakeCheckout:
        checkout = FakeCheckout(pytester, monkeypatch)
        checkout.ledger()
        checkout.scenario(HARMLESS + LOUD)
        monkeypatch.setattr(
            HarmlessApi,
            "__init__",
            lambda self, _, **options: Api.__init__(
                self, str(server.socket), **{k: options[k] for k in ("name", "transcript", "project")}
            ),
        )
        self.file = file
        return checkout

    def run(self, checkout: FakeCheckout, *args: str):
        return checkout.run("--cluster", str(self.file), *args)

    def test_says_what_it_would_do_and_does_nothing(self, checkout, server):
        result = self.run(checkout, "suites")
        assert result.ret == ExitStatus.INCOMPLETE
        text = "\n".join(result.outlines)
        assert "to be run: suites/membership/test_name.py::test_quiet[incus@7.0.2]" in text
        assert "test_loud[" not in text
        assert "add --yes" in text + "\n".join(result.errlines)
        assert changes(server) == []
        assert not list((checkout.root / "out").glob("*/planned-cells.txt"))

    def test_runs_the_harmless_ones_and_leaves_nothing(self, checkout, server):
        result = self.run(checkout, "suites", "--yes")
        result.assert_outcomes(passed=1, deselected=1)
        (cell,) = checkout.cells()
        assert (cell["verdict"], cell["substrate"]) == ("conforms", "existing")
        assert cell["build"]["source"] == "existing cluster staging"
        assert list(server.projects) == ["default"]
        assert "POST instances" in changes(server)

    def test_leaves_nothing_when_a_scenario_fails(self, checkout, server):
        checkout.scenario(HARMLESS.replace("'m2')", "'m2'); assert tenant.api().get('nothing')"))
        self.run(checkout, "suites", "--yes").assert_outcomes(failed=1)
        assert list(server.projects) == ["default"]

    def test_leaves_nothing_when_interrupted(self, checkout, server):
        checkout.scenario(HARMLESS.replace("'m2')", "'m2'); raise KeyboardInterrupt"))
        assert self.run(checkout, "suites", "--yes").ret == pytest.ExitCode.INTERRUPTED
        assert list(server.projects) == ["default"]

    def test_removes_first_what_a_killed_run_left(self, checkout, server):
        TestClearing().leave(server, "p-dead", "dead")
        result = self.run(checkout, "suites")
        result.stdout.fnmatch_lines(["left by a run that has ended, to be removed: project p-dead"])
        assert "p-dead" in server.projects
        self.run(checkout, "suites", "--yes")
        assert "p-dead" not in server.projects

    def test_a_scenario_that_does_harm_is_blocked_and_sends_nothing(self, checkout, server):
        checkout.scenario(HARMLESS.replace("tenant.create('c1', 'm2')", "tenant.api().put('', {'config': {}})"))
        self.run(checkout, "suites", "--yes")
        (cell,) = checkout.cells()
        assert cell["verdict"] == "blocked"
        assert "PUT " not in changes(server)

    @pytest.mark.parametrize(
        ("args", "says"),
        [
            (["suites/membership/test_name.py::test_loud", "suites"], "not marked as harmless"),
            (["suites", "-k", "test_loud"], "none of these scenarios is marked as harmless"),
            (["suites", "--build", "incus"], "leave --build out"),
            (["suites", "--fault", "kill-member"], "leave --fault out"),
        ],
    )
    def test_refuses_anything_else(self, checkout, server, args, says):
        result = self.run(checkout, *args, "--yes")
        assert result.ret == pytest.ExitCode.USAGE_ERROR
        assert says in "\n".join([*result.outlines, *result.errlines])
        assert changes(server) == []


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("@pytest.mark.harmless\ndef test_it(cluster, tenant): pass", 'uses the fixture "cluster"'),
        ("@pytest.mark.harmless\ndef test_it(case): pass", "does not use the fixture tenant"),
        ("@pytest.mark.harmless\n@pytest.mark.upgrade\ndef test_it(tenant): pass", "marked upgrade"),
    ],
)
def test_what_calls_itself_harmless_is_checked_in_every_session(pytester, monkeypatch, tmp_path, code, says):
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    checkout = FakeCheckout(pytester, monkeypatch)
    checkout.ledger()
    checkout.scenario(code)
    result = checkout.run("--collect-only", "-q", "suites")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert says in "\n".join(result.errlines)


def test_the_projects_own_harmless_scenarios_are_some(pytester):  # noqa: ARG001
    suites = Path(tenant.__file__).parents[2] / "suites"
    assert [path for path in suites.rglob("test_*.py") if "mark.harmless" in path.read_text()]


def test_api_errors_stay_errors(server):
    with pytest.raises(ApiError):
        HarmlessApi(str(server.socket), name="m1", transcript=Transcript(), project="p").get("nothing")
