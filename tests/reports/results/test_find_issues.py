"""Issues as people name them, and as they look for them."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from clusterproof.cli import app
from clusterproof.reports.results.find_issues import UnknownIssueError, bounds, find_issues, search
from clusterproof.reports.results.ledger import load_ledger

LEDGER = load_ledger()


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("incus-2986", ["incus-2986"]),
        ("2986", ["incus-2986"]),
        ("#2986", ["incus-2986"]),
        ("lxc/incus#2986", ["incus-2986"]),
        ("LXC/incus#2986", ["incus-2986"]),
        ("https://github.com/lxc/incus/issues/2986", ["incus-2986"]),
        ("https://github.com/lxc/incus/issues/2986#issuecomment-1", ["incus-2986"]),
        ("https://github.com/lxc/incus/pull/2986", ["incus-2986"]),
        ("3722", ["incus-3722"]),
        ("lxc/incus#3722", ["incus-3722", "lxd-18180"]),
        (" lxd-11899 ", ["lxd-11899"]),
    ],
)
def test_an_issue_by_what_people_call_it(said, found):
    assert sorted(find_issues(said, LEDGER)) == found


@pytest.mark.parametrize("issue", LEDGER)
def test_every_address_upstream_leads_to_its_issue(issue):
    assert issue in find_issues(issue, LEDGER)
    for address in LEDGER[issue].upstream:
        assert issue in find_issues(address, LEDGER)


@pytest.mark.parametrize(
    "said", ["nonsense", "", "1", "lxc/incus#1", "canonical/lxd#2986", "https://example.org/2986", "²"]
)
def test_what_is_no_issue(said):
    with pytest.raises(UnknownIssueError, match=r"is not in the ledger.*clusterproof issues \[WORDS\] lists"):
        find_issues(said, LEDGER)


def test_the_nearest_id_is_named():
    with pytest.raises(UnknownIssueError, match=r"\(nearest: incus-2986\)"):
        find_issues("incus-2968", LEDGER)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["old", "name"], "lxd-11534"),
        (["RENAMED"], "lxd-11534"),
        (["limits.cpu"], "lxd-11899"),
        (["lxc/incus#2986"], "incus-2986"),
        (["restart", "joined"], "lxd-11899"),
    ],
)
def test_words_of_title_symptom_workaround_and_upstream(words, found):
    assert found in [issue.id for issue in search(words, LEDGER)]


def test_all_words_have_to_occur():
    assert not search(["limits.cpu", "zzzz"], LEDGER)
    assert len(search([], LEDGER)) == len(LEDGER)


def test_bounds_in_words():
    assert "incus 7.0: affected, fixed in 7.0.2" in bounds(LEDGER["incus-3722"])
    assert "incus: not affected" in bounds(LEDGER["lxd-11899"])


def test_the_verb(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["issues", "old", "name"])
    assert result.exit_code == 0
    assert "lxd-11534  A renamed member keeps calling itself by its old name" in result.output
    assert "fixed in 5.0.2+git20231211" in result.output
    assert all(line == line.rstrip() for line in result.output.splitlines())
    as_data = json.loads(CliRunner().invoke(app, ["issues", "--json", "old", "name"]).output)
    assert "lxd-11534" in [one["id"] for one in as_data]
    assert all(one["title"] and one["products"] for one in as_data)
