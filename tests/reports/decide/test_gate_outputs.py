"""The gate's result in other forms: JUnit, Markdown and a badge, also of hostile results."""

from __future__ import annotations

from datetime import date
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from clusterproof.reports.commands import app
from clusterproof.reports.decide.gate import gate
from clusterproof.reports.decide.policy import Policy, load_policy
from clusterproof.reports.exports.junit import junit
from clusterproof.reports.exports.summary import summary
from clusterproof.reports.results.verdicts import Verdict
from clusterproof.reports.site.badge import badge
from tests.reports.decide.test_gate import having
from tests.samples import INCUS_604, INCUS_702, LXD_502, cell, sample_ledger, write_run

EXPLAINED = {
    "issue": "lxd-15313",
    "build": "lxd",
    "verdict": "silently-fixed",
    "reason": "backported | <b>here</b>",
    "expires": date(2999, 12, 31),
}
POLICY = Policy.model_validate(
    load_policy("expected").model_dump() | {"name": "mine", "explained": [EXPLAINED]}
)
CELLS = [
    having(Verdict.REGRESSED, reason="two\nlines", evidence="evidence/a", peer=INCUS_604),
    having(Verdict.BLOCKED, build=INCUS_604),
    having(Verdict.SILENTLY_FIXED, build=LXD_502),
    having(Verdict.UNTESTABLE, scenario="suites/a/test_a.py::test_a", reason="no ZFS here"),
    having(Verdict.REPRODUCED, scenario="suites/a/test_a.py::test_b"),
]
HOSTILE = "<script>alert(1)</script> ]]> | `x` [a](javascript:b) @all &amp; \x1b[31m\x00\ud800\ufffe\u202e"


@pytest.fixture
def result():
    return gate(CELLS, POLICY, problems=["1 of 6 planned cells have no result"])


def cases(xml):
    return {case.get("name"): case for case in ET.fromstring(xml).iter("testcase")}


def test_junit_says_what_the_gate_says(result):
    xml = junit(result)
    suite = ET.fromstring(xml)[0]
    counts = {key: int(suite.get(key)) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": 6, "failures": 1, "errors": 2, "skipped": 2}
    assert suite.get("name") == "gate (mine)"
    found = cases(xml)
    failure = found["test_one_extension_less[incus@6.0.4-to-7.0.2]"].find("failure")
    assert failure.get("type") == "regressed"
    assert failure.get("message") == "has the bug (regressed): two lines"
    assert "evidence: evidence/a" in failure.text
    assert found["test_one_extension_less[incus@6.0.4]"].find("error").get("type") == "blocked"
    assert "backported" in found["test_one_extension_less[lxd@5.0.2]"].find("skipped").get("message")
    assert found["test_a[incus@7.0.2]"].find("skipped").get("message") == "no ZFS here"
    assert list(found["test_b[incus@7.0.2]"]) == []
    assert found["missing"].find("error").get("message") == "1 of 6 planned cells have no result"
    assert found["test_b[incus@7.0.2]"].get("classname") == "suites.a.test_a"


def test_the_summary_shows_every_objection(result):
    text = summary(result)
    assert text.startswith("## ✗ Not passed: 1 cell not as expected, 1 blocked, the results are incomplete")
    assert "### Stops the run" in text
    assert "### Explained" in text
    assert "backported &#124; &#60;b&#62;here" in text
    assert text.count("\n| has the bug | ✗ regressed | 1 |") == 1
    assert text.count("\n| ✗ has the bug &#40;regressed&#41; |") == 1
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {4, 6}
    assert summary(gate([having(Verdict.CLEAR)], POLICY)).startswith("## ✓ Passed: 1 cell as expected")


def test_a_summary_of_many_objections_stays_below_a_megabyte():
    cells = [having(Verdict.REGRESSED, scenario=f"s{n}", reason="<" * 9000) for n in range(2000)]
    text = summary(gate(cells, POLICY))
    assert len(text.encode()) < 1 << 20
    assert "1700 more are in the results." in text


@pytest.mark.parametrize(
    ("verdict", "says", "colour"),
    [
        (Verdict.CLEAR, "1 cell as expected", "#2a7d3a"),
        (Verdict.REGRESSED, "not passed: 1 cell not as expected", "#b3261e"),
        (Verdict.BLOCKED, "not passed: 1 cell blocked", "#8a6100"),
    ],
)
@pytest.mark.parametrize("policy", ["expected", "none"])
def test_the_badge_says_it_in_words_and_colour(verdict, says, colour, policy):
    svg = badge(gate([having(verdict)], load_policy(policy)))
    image = ET.fromstring(svg)
    assert image.get("aria-label") == f"clusterproof: {says}"
    assert [one.text for one in image.iter("{http://www.w3.org/2000/svg}text")] == ["clusterproof", says]
    assert colour in svg
    assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")  # it loads nothing


@given(st.text(st.characters()) | st.just(HOSTILE), st.text(st.characters(), min_size=1) | st.just(HOSTILE))
def test_hostile_results_harm_no_form(reason, scenario):
    bad = gate([having(Verdict.REGRESSED, reason=reason, scenario=scenario, issue=scenario)], POLICY)
    ET.fromstring(junit(bad))
    text = summary(bad)
    assert not set("<>`@\x1b\x00") & set(text)
    rows = [line for line in text.splitlines() if line.startswith("| ✗ has the bug &#40;regressed&#41; | ")]
    objections = [row for row in rows if "incus" in row]
    assert objections
    assert objections[0].count("|") == 6


def test_the_command_writes_every_form(tmp_path, monkeypatch):
    sample_ledger(tmp_path)
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "r", CELLS)
    (tmp_path / "summary.md").write_text("# Before\n")
    args = ["gate", "--run", "r", "--junit", "out/j.xml", "--badge", "b.svg"]
    result = CliRunner().invoke(app, [*args, "--summary", "summary.md"])
    assert result.exit_code == 1
    assert len(cases((tmp_path / "out/j.xml").read_text())) == 5
    assert (tmp_path / "summary.md").read_text().startswith("# Before\n## ✗ Not passed: 2 cells")
    assert "2 cells not as expected" in (tmp_path / "b.svg").read_text()


def test_a_form_that_cannot_be_written_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "r", [cell(build=INCUS_702)])
    for option in ("--junit", "--badge", "--summary"):
        (tmp_path / "file").touch()
        result = CliRunner().invoke(app, ["gate", "--run", "r", option, "file/x"])
        assert result.exit_code == 64
        assert result.stderr.startswith('error: cannot use "file/x": ')
        assert result.stderr.count("\n") == 1
