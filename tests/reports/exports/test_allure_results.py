"""What Allure is given to read: one test on all builds, one line of history for each, and hostile evidence."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from clusterproof.builds import Expectation
from clusterproof.reports.exports.allure_results import (
    SITE,
    STATUSES,
    address,
    categories,
    environments,
    history_id,
    write_history,
    write_results,
)
from clusterproof.reports.history.history import History
from clusterproof.reports.matrix.urls import cell_page
from clusterproof.reports.results.answers import answer, in_words
from clusterproof.reports.results.verdicts import Observation, Verdict
from tests.reports.decide.test_gate import having
from tests.samples import BUILDS, INCUS_604, INCUS_702, START, cell, sample_ledger, sample_run

KEPT = "evidence/a"


@pytest.fixture
def ledger(tmp_path):
    return sample_ledger(tmp_path)


def results(folder):
    return [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*-result.json"))]


def labels(result):
    return {label["name"]: label["value"] for label in result["labels"]}


def written(tmp_path, *cells, ledger=None):
    count = write_results(tmp_path / "results", cells, {cell().run: tmp_path / "run"}, ledger or {})
    found = results(tmp_path / "results")
    assert count <= len(found) == len(cells)
    return found


def step(at, verb, what, **facts):
    time = (START + timedelta(seconds=at)).isoformat()
    return json.dumps({"at": time, "seconds": 0.5, "verb": verb, "target": "m1", "what": what, **facts})


def keep(tmp_path, *lines, **files) -> Path:
    folder = tmp_path / "run" / KEPT
    for member in ("m1", "m2"):
        (folder / member).mkdir(parents=True)
    (folder / "transcript.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for name, content in files.items():
        (folder / name.replace("__", "/").replace("_log", ".log")).write_bytes(content)
    return folder


def test_a_scenario_is_one_test_on_all_builds(tmp_path, ledger):
    run = sample_run(ledger)
    write_results(tmp_path / "results", run, {}, ledger)
    found = results(tmp_path / "results")
    assert len(found) == len(run)
    scenarios = {(one.issue, one.scenario) for one in run}
    assert len({labels(one)["ALLURE_ID"] for one in found}) == len(scenarios)
    assert len({one["historyId"] for one in found}) == len({one.key for one in run})
    for one in found:
        (parameter,) = one["parameters"]
        assert parameter["mode"] == "hidden"
        matching = [
            build
            for build in environments(BUILDS)
            if (build["product"], build["version"]) == (labels(one)["product"], labels(one)["product_version"])
        ]
        assert len(matching) == 1


def test_environments_are_what_allure_admits():
    odd = INCUS_702.model_copy(update={"version": "9.0" + "+very.long" * 20})
    found = environments([*BUILDS, *BUILDS, odd])
    assert len(found) == len(BUILDS) + 1
    assert len({one["id"] for one in found}) == len(found)
    for one in found:
        assert len(one["name"]) <= 64
        assert len(one["id"]) <= 64
        assert one["id"].replace("-", "").isalnum()
    assert [one["version"] for one in found if one["product"] == "lxd"] == [
        build.version for build in BUILDS if build.product == "lxd"
    ]


@pytest.mark.parametrize("verdict", Verdict)
def test_verdicts_are_labels_and_the_status_is_what_was_seen(tmp_path, verdict):
    one = having(verdict)
    (result,) = written(tmp_path, one)
    assert labels(result)["verdict"] == labels(result)["tag"] == verdict
    assert result["status"] == STATUSES[verdict]
    assert (result["status"] == "passed") is (one.observation is Observation.CONFORMS)
    assert (result["status"] == "skipped") is (one.observation is Observation.NOT_RUN)
    not_the_product = (Observation.LAB_ERROR, Observation.SCENARIO_ERROR)
    assert (result["status"] == "broken") is (one.observation in not_the_product)
    assert result["statusDetails"]["known"] is (verdict is Verdict.REPRODUCED)
    words = in_words(answer(verdict), verdict)
    assert result["statusDetails"]["message"].startswith(f"{verdict.sign} {words}: {verdict.meaning}")


def test_verdicts_that_want_to_be_read_are_categories():
    assert [one["verdict"] for one in categories()] == [
        "regressed", "discovered", "failed", "silently-fixed", "invalid", "blocked", "reproduced",
    ]  # fmt: skip


def test_a_result_leads_to_the_site_and_the_site_to_it(tmp_path, ledger):
    one = cell()
    (result,) = written(tmp_path, one, ledger=ledger)
    urls = [link["url"] for link in result["links"]]
    assert urls[0] == SITE + cell_page(one.key)
    assert urls[2:] == list(ledger["lxd-15313"].upstream)
    front, _, name = address(one.key).partition("#")
    assert front == "allure/index.html"
    # Allure's page of a result is called by the MD5 of its UUID.
    assert name != result["uuid"]
    assert len(name) == 32
    assert address(one.key) == address(cell(run="another").key)
    assert len({address(cell(build=build).key) for build in BUILDS}) == len(BUILDS)


def test_only_the_newest_of_repeats_has_the_cell_s_address(tmp_path):
    later = cell(started=START + timedelta(minutes=1), observation=Observation.LAB_ERROR)
    found = written(tmp_path, cell(), later)
    assert len({one["uuid"] for one in found}) == 2
    assert len({one["historyId"] for one in found}) == 1
    again = written(tmp_path / "again", later)
    assert again[0]["uuid"] in {one["uuid"] for one in found if one["status"] == "broken"}


def test_steps_come_from_the_transcript(tmp_path):
    keep(
        tmp_path,
        step(1, "run", "incus list", rc=0, stdout="three members\n"),
        step(3.2, "run", "incus query", rc=1, stderr="no such thing"),
        step(3, "check", "all are online", seconds=2, error="m2 is OFFLINE"),
        step(9, "api", "GET /1.0", status=500),
    )
    (result,) = written(tmp_path, cell(evidence=KEPT))
    begin = round(START.timestamp() * 1000)
    listed, check, asked = result["steps"]
    assert (listed["name"], listed["status"]) == ("m1 run: incus list", "passed")
    assert (listed["start"] - begin, listed["stop"] - begin) == (1000, 1500)
    assert listed["parameters"] == [{"name": "standard output", "value": "three members"}]
    assert (check["name"], check["status"]) == ("check: all are online [fails]", "failed")
    assert check["statusDetails"] == {"message": "m2 is OFFLINE"}
    (inside,) = check["steps"]
    assert (inside["name"], inside["status"]) == ("m1 run: incus query [rc 1]", "passed")
    assert asked["name"] == "m1 api: GET /1.0 [status 500]"


def test_logs_are_attached_by_their_ends_and_as_text(tmp_path):
    kept = keep(
        tmp_path,
        m1__daemon_log=b"<script>alert(1)</script>\x1b[31m\xff\n",
        m1__journal_log=b"early\n" + b"x" * 99 + b"\n" * 100_000 + b"late\n",
        m2__daemon_log=b"x" * 99_000,  # one line that never ends
        m1__page_html=b"<b>",
    )
    (kept / "symptom.txt").write_text("version is behind\n")
    (kept / "m1" / "daemon-link.log").symlink_to("/etc/passwd")
    (result,) = written(tmp_path, cell(evidence=KEPT))
    attached = {one["name"]: one for one in result["attachments"]}
    assert list(attached) == ["m1/daemon.log", "m1/journal.log", "m2/daemon.log"]
    assert {one["type"] for one in attached.values()} == {"text/plain"}
    texts = {name: (tmp_path / "results" / one["source"]).read_text() for name, one in attached.items()}
    assert texts["m1/daemon.log"] == "<script>alert(1)</script>\ufffd\n"
    assert texts["m1/journal.log"].startswith("[... ")
    assert texts["m1/journal.log"].endswith("late\n")
    assert "early" not in texts["m1/journal.log"]
    assert texts["m2/daemon.log"].endswith("x" * 24_000)
    assert len(texts["m1/journal.log"]) < 25_000
    assert result["statusDetails"]["trace"] == "version is behind\n"


def test_evidence_outside_the_run_s_folder_is_not_read(tmp_path):
    keep(tmp_path, step(1, "run", "secret"))
    (tmp_path / "run" / "evidence" / "b").symlink_to(tmp_path)
    (result,) = written(tmp_path, cell(evidence="evidence/b"))
    assert not {"steps", "attachments"} & set(result)


def test_hostile_text_is_only_text(tmp_path):
    nasty = "</script><img src=x onerror=alert(1)>\x1b[2J\x00\ud800\u202e"
    keep(tmp_path, step(1, "run", nasty, stdout=nasty * 999))
    (result,) = written(tmp_path, cell(evidence=KEPT, reason=nasty, scenario=nasty, issue=nasty))
    text = json.dumps(result, ensure_ascii=False)
    assert not set("\x1b\x00\u202e\ud800") & set(text)
    assert len(text) < 6_000
    assert "descriptionHtml" not in result


# History


def test_each_build_has_a_history_of_its_own_over_runs(tmp_path):
    def at(number, **changes):
        return cell(run=f"r{number}", started=START + timedelta(days=number), **changes)

    affected = {"observation": Observation.SYMPTOM, "expectation": Expectation.AFFECTED}
    with History(tmp_path / "h") as history:
        history.record([*(at(n) for n in range(3)), *(at(n, build=INCUS_604, **affected) for n in range(2))])
        trails = history.trail("lxd-15313", 30)
        shown = {one.key: one.run for one in history.current()}
        assert write_history(tmp_path / "history.jsonl", trails, shown) == 2
    points = [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()]
    assert [point["name"] for point in points] == ["r0", "r1"]
    one, other = history_id(at(0).key), history_id(at(0, build=INCUS_604).key)
    # r2 is shown itself for the one, r1 for the other.
    assert [set(point["testResults"]) for point in points] == [{one, other}, {one}]
    assert points[0]["testResults"][other]["status"] == "failed"
    assert points[0]["testResults"][one]["status"] == "passed"
    assert points[0]["timestamp"] < points[1]["timestamp"]
    assert points[0]["testResults"][one]["start"] == round(START.timestamp() * 1000)
    assert points[0]["knownTestCaseIds"] == [one.partition(".")[0]]


def test_the_same_history_makes_the_same_file(tmp_path):
    several = [cell(run=f"r{n}", build=build) for n in range(3) for build in BUILDS]
    texts = set()
    for number, order in enumerate((several, several[::-1])):
        with History(tmp_path / f"h{number}") as history:
            history.record(order)
            write_history(tmp_path / "history.jsonl", history.trail("lxd-15313", 30), {})
        texts.add((tmp_path / "history.jsonl").read_text())
    assert len(texts) == 1
