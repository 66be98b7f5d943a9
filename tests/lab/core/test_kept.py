"""Clusters that stay: whose they are, how they are called, and how old they are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from clusterproof.lab.core import kept
from clusterproof.lab.core.kept import Kept, keep
from clusterproof.lab.core.runs import Run


@pytest.fixture
def run(monkeypatch, tmp_path) -> Run:
    monkeypatch.setenv("LAB_DIR", str(tmp_path))
    monkeypatch.delenv("SUDO_USER", raising=False)
    made = Run("20260302T210400Z-505a")
    made.hold()
    return made


def test_what_is_kept_says_whose_it_is(run):
    keep(run, "incus@7.0.2")
    (found,) = Kept.every()
    assert found.mine
    assert (found.name, found.build, found.user) == (run.id, "incus@7.0.2", kept.person())
    assert str(kept.CHECKOUT) in str(found)
    assert found.age().endswith(" s old")


@pytest.mark.parametrize(("name", "value"), [("CHECKOUT", "/elsewhere"), ("person", lambda: "somebody")])
def test_what_another_user_or_checkout_made_is_not_mine(run, monkeypatch, name, value):
    with monkeypatch.context() as then:
        then.setattr(kept, name, value)
        keep(run, "incus@7.0.2")
    assert not Kept.of(run).mine


def test_who_became_root_is_still_that_person(run, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "alice")
    assert keep(run, "incus@7.0.2").user == "alice"


@pytest.mark.parametrize("note", ["", "{", "[1]", '"x"', '{"instances": null}'])
def test_a_note_that_says_nothing_makes_it_nobodys(run, note):
    run.keep(note)
    found = Kept.of(run)
    assert not found.mine
    assert "made by somebody" in str(found)
    assert "of unknown age" in str(found)


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("20260302T210400Z-505a", True), ("505a", True), ("05a", False), ("a", False), ("", False),
        ("-505a", False), ("20260302T210400Z", False),
    ],
)  # fmt: skip
def test_no_part_of_a_name_will_do(run, name, called):
    assert keep(run, "x").is_called(name) is called


@pytest.mark.parametrize(
    ("age", "words"),
    [(5, "5 s old"), (60, "1 min old"), (3600, "1 h old"), (90000, "1 d old")],
)
def test_age(run, age, words):
    found = keep(run, "x")
    now = datetime.fromisoformat(found.made) + timedelta(seconds=age)
    assert found.age(now.astimezone(UTC)) == words


def test_of_a_failed_cell_only_its_members_stay(run):
    found = keep(run, "x", "suites/a/test_b.py::test_c[incus@7.0.2]", ["cp-1-505a-1-1-m1"])
    assert found == Kept.of(run)
    assert found.stays("cp-1-505a-1-1-m1")
    assert found.stays("cp-1-505a-1-1-m1-state")
    assert not found.stays("cp-1-505a-1-1-m10")
    assert not found.stays("cp-1-505a-1-2-m1")
    assert "test_c[incus@7.0.2]" in "\n".join(found.how_to())
