"""A cell: which observation follows from what a scenario does, and that each leaves one line."""

from __future__ import annotations

import itertools
import json

import pytest

from fixtures import clusters as cluster_fixtures
from fixtures.cells import slug
from lab import container as containers
from lab.cluster import Cluster
from lab.errors import LabError
from tests.fakes import (
    INCUS_604,
    INCUS_702,
    LXD_502,
    FakeCheckout,
    FakeMachine,
    FakeServer,
    bake_beforehand,
    image,
    stay_alone,
)

pytest_plugins = ["pytester"]

FREE, AFFECTED, UNKNOWN = "incus@7.0.2", "incus@6.0.4", "lxd@5.0.2"

IMPORTS = """
import threading
from fixtures import ApiError, CommandError, CommandTimeoutError, NotObservedError, eventually
from fixtures.cells import NotApplicableError
from lab.errors import LabError
"""


@pytest.fixture
def server():
    with FakeServer() as running:
        yield running


@pytest.fixture
def machines(monkeypatch) -> list[FakeMachine]:
    made = []

    def machine(_, name, image):
        made.append(FakeMachine(name, image, f"10.176.0.{len(made) + 2}"))
        return made[-1]

    monkeypatch.setattr("lab.container.Container", machine)
    return made


@pytest.fixture
def checkout(pytester, monkeypatch, tmp_path, server, machines) -> FakeCheckout:  # noqa: ARG001
    """A checkout with one bug; three builds are baked, and a lab host is there."""
    stay_alone(monkeypatch, tmp_path / "lab")
    monkeypatch.setenv("LAB_HOST", str(server.socket))
    for entry, schema in ((INCUS_604, 73), (INCUS_702, 77), (LXD_502, 60)):
        bake_beforehand(entry, schema=schema)
    checkout = FakeCheckout(pytester, monkeypatch)
    checkout.ledger()
    return checkout


IN_CONTAINERS = ("--substrate", "container")


def run(checkout, code, *args, build=FREE):
    checkout.scenario(IMPORTS + code)
    return checkout.run("--build", build, *args)


def only_cell(checkout) -> dict:
    (cell,) = checkout.cells()
    return cell


def test_a_scenario_that_passes(checkout):
    result = run(checkout, "def test_it(cell): pass")
    result.assert_outcomes(passed=1)
    assert result.ret == 0
    cell = only_cell(checkout)
    assert cell["scenario"] == "suites/membership/test_name.py::test_it"
    assert (cell["issue"], cell["role"], cell["substrate"]) == ("lxd-1", "reproduction", "container")
    assert (cell["observation"], cell["expectation"]) == ("conforms", "not-affected")
    assert (cell["verdict"], cell["reason"]) == ("conforms", "")
    assert cell["build"]["version"] == "7.0.2-1"
    assert cell["build"]["schema"] == 77
    assert cell["peer"] is None
    assert cell["seconds"] >= cell["phases"]["scenario"] >= 0
    assert cell["evidence"] == "evidence/lxd-1-test-it-incus@7.0.2"
    assert (checkout.root / "out/latest" / cell["evidence"]).is_dir()


def test_cells_say_which_suite_they_are_of(checkout):
    def suite(*args):
        checkout.run("--build", FREE, *args)
        return only_cell(checkout)["suite"]

    checkout.scenario("def test_it(cell): pass")
    first = suite()
    assert len(first) == 16
    assert suite("-n", "1") == first  # also in a worker
    checkout.scenario("def test_it(cell): assert True")
    assert suite() != first


# What a scenario raises, and what was then observed.
RAISED = {
    "raise LabError('the lab host is gone')": ("lab-error", "the lab host is gone"),
    "assert 1 + 1 == 3": ("other-failure", "assert (1 + 1) == 3"),
    "raise CommandError('m1: init ended with 1')": ("other-failure", "CommandError: m1: init ended"),
    "raise CommandTimeoutError('m1: still running')": ("other-failure", "CommandTimeoutError: m1: still"),
    "raise ApiError('m1: GET: 500', 500)": ("other-failure", "ApiError: m1: GET: 500"),
    "raise NotObservedError('not within 5 s')": ("other-failure", "not within 5 s"),
    "raise ValueError": ("other-failure", "ValueError"),
    "pytest.fail('no good')": ("other-failure", "Failed: no good"),
    "pytest.skip('not today')": ("not-run", "not today"),
    "with symptom('it keeps it'): assert False, 'm1 forgot its name'": ("symptom", "it keeps it: m1 forgot"),
    "with symptom('it keeps it'): assert False, 'm1 is Offline'": ("other-failure", "m1 is Offline"),
    "assert False, 'm1 forgot its name'": ("other-failure", "m1 forgot its name"),
    "with symptom('it keeps it'): raise LabError('gone')": ("lab-error", "gone"),
    "with symptom('it keeps it'): raise ApiError('m1 forgot its name')": ("other-failure", "ApiError: m1"),
}


def scenarios(codes, head="def {name}(cell, symptom):\n    {code}\n") -> str:
    """Return a scenario for each of ``codes``: test_0, test_1 and so on."""
    return "".join(head.format(name=f"test_{n}", code=code) for n, code in enumerate(codes))


def told(checkout, codes) -> dict:
    """Return the cell of each of ``codes`` after such scenarios were run on one build."""
    found = {cell["scenario"].rpartition("::test_")[2]: cell for cell in checkout.cells()}
    return {code: found[str(n)] for n, code in enumerate(codes)}


def test_what_a_scenario_raises(checkout):
    run(checkout, scenarios(RAISED))
    cells = told(checkout, RAISED)
    seen = {code: (cell["observation"], cell["reason"]) for code, cell in cells.items()}
    expected = {
        code: (observation, seen[code][1] if seen[code][1].startswith(reason) else reason)
        for code, (observation, reason) in RAISED.items()
    }
    assert seen == expected
    assert not [reason for _, reason in seen.values() if "\n" in reason]


SEES_IT = "with symptom('x'): assert False, 'forgot its name'"
VERDICTS = {
    "pass": ("conforms", "silently-fixed", "clear"),
    SEES_IT: ("regressed", "reproduced", "discovered"),
    "assert False": ("failed", "failed", "failed"),
    "raise LabError('gone')": ("blocked", "blocked", "blocked"),
    "pytest.skip('no')": ("untestable", "untestable", "untestable"),
}


def test_expectation_and_verdict(checkout):
    result = run(checkout, scenarios(VERDICTS), "--build", AFFECTED, "--build", UNKNOWN)
    cells = checkout.cells()
    found = {(cell["scenario"].rpartition("_")[2], cell["build"]["name"]): cell for cell in cells}
    builds = {FREE: "not-affected", AFFECTED: "affected", UNKNOWN: "unknown"}
    assert {cell["build"]["name"]: cell["expectation"] for cell in cells} == builds
    verdicts = {
        code: tuple(found[str(n), build]["verdict"] for build in builds) for n, code in enumerate(VERDICTS)
    }
    assert verdicts == VERDICTS
    assert result.ret != 0


@pytest.mark.parametrize("role", ["workaround", "control"])
def test_a_workaround_must_help_also_where_the_bug_is(checkout, role):
    mark = f"@pytest.mark.role('{role}')\n"
    codes = {"pass": "conforms", SEES_IT: "regressed"}
    run(checkout, scenarios(codes, mark + "def {name}(cell, symptom):\n    {code}\n"), build=AFFECTED)
    cells = told(checkout, codes)
    assert {cell["role"] for cell in cells.values()} == {role}
    assert {cell["expectation"] for cell in cells.values()} == {"not-affected"}
    assert {code: cell["verdict"] for code, cell in cells.items()} == codes


IN_SETUP = """
@pytest.fixture
def for_{name}(cell):
    {code}
def {name}(cell, for_{name}): pass
"""


def test_what_is_raised_before_the_scenario_says_nothing_of_the_product(checkout):
    codes = {
        "raise LabError('no room')": "lab-error",
        "assert False, 'no cluster'": "lab-error",
        "raise CommandError('no room')": "lab-error",
        "raise ApiError('no room')": "lab-error",
        "raise ValueError('no room')": "lab-error",
        "pytest.skip('not here')": "not-run",
        "raise NotApplicableError('not this one')": "not-run",
    }
    run(checkout, scenarios(codes, IN_SETUP), build=AFFECTED)
    cells = told(checkout, codes)
    assert {code: cell["observation"] for code, cell in cells.items()} == codes
    assert cells["raise NotApplicableError('not this one')"]["verdict"] == "not-applicable"


def test_a_fixture_that_does_not_exist_is_no_fault_of_the_product(checkout):
    run(checkout, "def test_it(cell, nothing_of_that_name): pass")
    assert only_cell(checkout)["verdict"] == "blocked"


IN_TEARDOWN = """
@pytest.fixture
def for_{name}(cell):
    yield
    raise {error}('device busy')
def {name}(cell, symptom, for_{name}):
    {code}
"""


@pytest.mark.parametrize("error", ["LabError", "AssertionError"])
def test_what_is_raised_after_the_scenario_changes_no_observation(checkout, error):
    codes = {
        "pass": ("conforms", "not removed: device busy"),
        SEES_IT: ("symptom", "x: forgot its name"),
        "raise LabError('gone')": ("lab-error", "gone; not removed: device busy"),
        "assert False, 'early'": ("other-failure", "early"),
    }
    run(checkout, scenarios(codes, IN_TEARDOWN.replace("{error}", error)))
    for code, cell in told(checkout, codes).items():
        observation, reason = codes[code]
        assert cell["observation"] == observation
        assert cell["reason"].startswith(reason)
        assert cell["reason"].endswith("not removed: device busy")


def test_a_scenario_that_is_ended_by_its_time_limit_is_the_lab_s_fault(checkout):
    result = run(
        checkout,
        "@pytest.mark.timeout(0.2)\n"
        "def test_it(cell, symptom):\n"
        "    with symptom('x'):\n"
        "        eventually(lambda: threading.Event().wait(30), within=60)",
        build=AFFECTED,
    )
    cell = only_cell(checkout)
    assert (cell["observation"], cell["verdict"]) == ("lab-error", "blocked")
    assert "Timeout" in cell["reason"]
    assert result.ret == 2


def test_a_product_that_the_issue_does_not_concern(checkout):
    checkout.ledger(products=["lxd"])
    result = run(checkout, "def test_it(cell): raise ValueError('never runs')")
    result.assert_outcomes(skipped=1)
    cell = only_cell(checkout)
    assert (cell["observation"], cell["verdict"]) == ("not-run", "not-applicable")
    assert cell["reason"] == "lxd-1 does not concern incus"
    assert result.ret == 0


def test_a_build_that_the_scenario_is_not_about(checkout):
    code = "@pytest.mark.applies_to('extension:evacuation')\ndef test_it(members): pass"
    run(checkout, code)
    cell = only_cell(checkout)
    assert (cell["expectation"], cell["verdict"]) == ("not-applicable", "not-applicable")
    assert cell["reason"] == "the build has no API extension evacuation"


def test_a_change_and_what_it_must_be_like(checkout):
    conditions = {
        "same-schema": ("not-applicable", "the schemas differ: 77 and 73"),
        "older-schema": ("silently-fixed", ""),
        "extension:etag": ("silently-fixed", ""),
    }
    head = "@pytest.mark.downgrade\n@pytest.mark.applies_to('{code}')\ndef {name}(members): pass\n"
    run(checkout, scenarios(conditions, head), "--build", AFFECTED)
    cells = told(checkout, conditions)
    seen = {condition: (cell["verdict"], cell["reason"]) for condition, cell in cells.items()}
    assert seen == conditions
    builds = {(cell["build"]["name"], cell["peer"]["name"]) for cell in cells.values()}
    assert builds == {(AFFECTED, FREE)}


def test_a_capability_that_the_substrate_lacks(checkout):
    code = "@pytest.mark.requires('vm-instances')\ndef test_it(members): pass"
    run(checkout, code, *IN_CONTAINERS, build=AFFECTED)
    cell = only_cell(checkout)
    assert (cell["observation"], cell["verdict"]) == ("not-run", "untestable")
    assert cell["reason"].startswith("vm-instances: a nested container has no KVM")


def test_a_capability_that_the_issue_needs(checkout):
    checkout.ledger(needs=["cephfs"])
    run(checkout, "def test_it(members): pass", *IN_CONTAINERS)
    assert only_cell(checkout)["reason"].startswith("cephfs: ")


# Was the lab sound?


def test_an_unsound_lab_makes_every_observation_the_lab_s(checkout):
    codes = ["pass", SEES_IT, "assert False", "raise ValueError"]
    head = "def {name}(members, symptom):\n    members.members[0].machine.up = False\n    {code}\n"
    run(checkout, scenarios(codes, head), build=AFFECTED)
    for cell in told(checkout, codes).values():
        assert (cell["observation"], cell["verdict"]) == ("lab-error", "blocked")
        assert cell["reason"] == "member m1 stopped, and no scenario stopped it"


def test_a_member_that_the_scenario_stopped_is_no_fault_of_the_lab(checkout):
    run(checkout, "def test_it(members):\n    members.members[0].kill()")
    assert only_cell(checkout)["observation"] == "conforms"


def test_an_interrupt_ends_the_run_also_when_the_lab_is_unsound(checkout):
    result = run(
        checkout,
        "def test_it(members):\n    members.members[0].machine.up = False\n    raise KeyboardInterrupt\n"
        "def test_next(cell): pass",
    )
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert "test_next" not in {cell["scenario"].rpartition("::")[2] for cell in cells_if_any(checkout)}


def cells_if_any(checkout) -> list[dict]:
    return [
        json.loads(line)
        for path in checkout.root.glob("out/*/results.jsonl")
        for line in path.read_text().splitlines()
    ]


def test_members_that_cannot_be_made_block_the_cell_and_are_removed(checkout, machines, monkeypatch):
    plain = containers.Container

    def machine(*args):
        made = plain(*args)
        made.broken["start"] = LabError("member did not boot")
        return made

    monkeypatch.setattr("lab.container.Container", machine)
    run(checkout, "def test_it(members): pass", "--evidence", "failing")
    cell = only_cell(checkout)
    assert (cell["verdict"], cell["reason"]) == ("blocked", "member did not boot")
    assert [machine.done[-1] for machine in machines] == ["destroy"] * 3
    kept = checkout.root / "out/latest" / cell["evidence"]
    assert "LabError" in (kept / "m1" / "not-collected.txt").read_text()


def test_what_cannot_be_removed_is_said_beside_the_observation(checkout, machines):
    run(
        checkout,
        "def test_it(members):\n"
        "    members.members[0].machine.broken['destroy'] = LabError('device busy')",
    )
    cell = only_cell(checkout)
    assert (cell["observation"], cell["reason"]) == (
        "conforms",
        "not removed: device busy (the cluster of test_it[incus@7.0.2])",
    )
    assert [machine.done[-1] for machine in machines] == ["destroy"] * 3


# The first cluster is not removed before the second scenario has begun.
SLOW_TO_REMOVE = """
begun = threading.Event()
def test_one(members):
    machine = members.members[0].machine
    destroy = machine.destroy
    def late():
        assert begun.wait(30)
        destroy()
        raise LabError('device busy')
    machine.destroy = late
def test_two(members):
    begun.set()
def test_three(cell): pass
"""


def test_a_cluster_is_removed_while_the_next_cell_runs(checkout, machines):
    run(checkout, SLOW_TO_REMOVE)
    told = [(cell["observation"], cell["reason"]) for cell in checkout.cells()]
    # What could not be removed is said beside the cell that had to wait for it.
    late = "not removed: device busy (the cluster of test_one[incus@7.0.2])"
    assert told == [("conforms", ""), ("conforms", late), ("conforms", "")]
    assert [machine.done[-1] for machine in machines] == ["destroy"] * 6


def test_evidence_that_cannot_be_kept_does_not_keep_the_members(checkout, machines, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cluster_fixtures.evidence, "collect", fail)
    run(checkout, "def test_it(members): pass")
    assert only_cell(checkout)["observation"] == "conforms"
    assert [machine.done[-1] for machine in machines] == ["destroy"] * 3


@pytest.mark.parametrize("keep", ["failing", "all"])
def test_which_cells_keep_evidence(checkout, keep):
    failing = {
        "pass": False,
        "pytest.skip('no')": False,
        "assert False": True,
        "raise LabError('gone')": True,
    }
    run(checkout, scenarios(failing, "def {name}(members):\n    {code}\n"), "--evidence", keep)
    for code, cell in told(checkout, failing).items():
        folder = checkout.root / "out/latest" / cell["evidence"]
        assert (folder / "m1").exists() is (keep == "all" or failing[code])
        assert (folder / "transcript.jsonl").exists()


def test_the_marker_says_how_many_members_there_are(checkout, machines):
    run(checkout, "@pytest.mark.members(2)\ndef test_it(members): assert len(members.members) == 2")
    assert only_cell(checkout)["observation"] == "conforms"
    assert len(machines) == 2


def test_the_phases_are_timed(checkout):
    run(checkout, "def test_it(members): pass")
    phases = only_cell(checkout)["phases"]
    assert phases.keys() == {"host", "members", "cluster", "scenario", "teardown"}
    assert all(seconds >= 0 for seconds in phases.values())


def test_lines_that_show_the_symptom_are_kept(checkout):
    run(
        checkout,
        "def test_it(members, symptom):\n"
        "    with symptom('x'): assert False, 'm1 forgot its name, password=hunter2hunter2'",
        build=AFFECTED,
    )
    folder = checkout.root / "out/latest" / only_cell(checkout)["evidence"]
    shown = (folder / "symptom.txt").read_text()
    assert shown.startswith("m1 forgot its name")
    assert "hunter2" not in shown


JOINS_IN_VAIN = """
def test_it(cell):
    token = "eyJ" + "c2VjcmV0" * 12
    raise CommandError("join ended with 1: " + token)
"""


def written_with_the_token(checkout) -> set[str]:
    token = b"eyJ" + b"c2VjcmV0" * 12
    files = [path for path in (checkout.root / "out").rglob("*") if path.is_file()]
    return {path.name for path in files if token in path.read_bytes()}


def test_secrets_in_a_reason_are_not_written(checkout):
    run(checkout, JOINS_IN_VAIN)
    assert only_cell(checkout)["reason"] == "CommandError: join ended with 1: [redacted]"
    ours = {"results.jsonl", "matrix.json", "index.html", "history.sqlite", "transcript.jsonl"}
    assert written_with_the_token(checkout) & ours == set()


def test_secrets_in_a_failure_are_in_no_report(checkout):
    run(checkout, JOINS_IN_VAIN)
    assert written_with_the_token(checkout) == set()


def test_a_long_reason_is_cut(checkout):
    run(checkout, "def test_it(cell):\n    raise ValueError('x' * 100_000)")
    assert len(only_cell(checkout)["reason"]) <= 2000


def test_every_cell_has_a_line_and_a_folder_of_its_own(checkout):
    checkout.scenario("def test_it(cell): pass\ndef test_more(cell): pass")
    result = checkout.run("--build", FREE, "--build", UNKNOWN)
    result.assert_outcomes(passed=4)
    cells = checkout.cells()
    expected = itertools.product(["test_it", "test_more"], ["incus", "lxd"])
    found = {(cell["scenario"].rpartition("::")[2], cell["build"]["product"]) for cell in cells}
    assert found == set(expected)
    assert len({cell["evidence"] for cell in cells}) == 4


def test_reports_carry_the_verdict(checkout):
    run(checkout, "def test_it(cell): pass")
    junit = (checkout.root / "out/latest/junit.xml").read_text()
    for name, value in {"issue": "lxd-1", "verdict": "conforms", "build": "incus 7.0.2-1"}.items():
        assert f'<property name="{name}" value="{value}"' in junit


def test_allure_has_one_identity_for_all_builds(checkout):
    checkout.scenario("def test_it(cell): pass")
    checkout.run("--build", FREE, "--build", UNKNOWN)
    found = [
        json.loads(path.read_text())
        for path in (checkout.root / "out/latest/allure-results").glob("*-result.json")
    ]
    labels = [{label["name"]: label["value"] for label in one["labels"]} for one in found]
    assert {label["as_id"] for label in labels} == {"lxd-1::test_it"}
    assert {label["product"] for label in labels} == {"incus", "lxd"}
    assert {label["product_version"] for label in labels} == {"7.0.2", "5.0.2"}


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("lxd-1-test_it-incus@7.0.2", "lxd-1-test-it-incus@7.0.2"),
        ("../../etc/passwd", "..-..-etc-passwd"),
        ("a b\nc\0d", "a-b-c-d"),
        ("lxd@5.0.2+git-to-6~rc1", "lxd@5.0.2+git-to-6-rc1"),
    ],
)
def test_names_of_folders(text, name):
    assert slug(text) == name


def test_clusters_are_made_of_the_first_build(checkout, machines):
    checkout.scenario("@pytest.mark.downgrade\ndef test_it(members, image): assert image is not None")
    checkout.run("--build", AFFECTED, "--build", FREE)
    assert {machine.image.build.name for machine in machines} == {FREE}
    assert image().build.name == FREE


def test_the_watch_reads_the_logs_of_the_members(checkout, monkeypatch):
    monkeypatch.setattr(Cluster, "logs", lambda _: {"m1": "t=1\nthe name is gone\nt=2"})
    run(
        checkout,
        "def test_it(members, symptom):\n    with symptom('x'): assert False, 'm1 is Offline'",
        build=AFFECTED,
    )
    cell = only_cell(checkout)
    assert (cell["observation"], cell["verdict"]) == ("symptom", "reproduced")
    folder = checkout.root / "out/latest" / cell["evidence"]
    assert (folder / "symptom.txt").read_text() == "the name is gone\n"
