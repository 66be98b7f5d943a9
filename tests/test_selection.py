"""Which cells there are, and what is refused before any of them runs."""

from __future__ import annotations

import pytest

from fixtures.selection import builds_of
from tests.fakes import CATALOGUE, FakeCheckout

pytest_plugins = ["pytester"]

COLLECT = ("--collect-only", "-q")
PLAIN = "def test_it(case): pass"


@pytest.fixture(autouse=True)
def checkout(pytester, monkeypatch, tmp_path) -> FakeCheckout:
    monkeypatch.setenv("LAB_DIR", str(tmp_path / "lab"))
    return FakeCheckout(pytester, monkeypatch)


def cells(result) -> list[str]:
    return [line.rpartition("/")[2] for line in result.outlines if "::test_" in line]


def refused(result) -> list[str]:
    """Return the lines with which the collection was refused; each problem is one, and nothing else."""
    assert result.ret == pytest.ExitCode.USAGE_ERROR, result.stdout.str()
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    return [line.removeprefix("ERROR: ") for line in result.errlines if line.strip()]


def test_a_scenario_meets_every_build(checkout):
    checkout.ledger()
    checkout.scenario("def test_it(case): pass\ndef test_more(cell): pass")
    found = cells(checkout.run(*COLLECT, "--build", "incus@6.0.4", "--build", "lxd@5.0.2"))
    assert found == [
        "test_name.py::test_it[incus@6.0.4]",
        "test_name.py::test_it[lxd@5.0.2]",
        "test_name.py::test_more[incus@6.0.4]",
        "test_name.py::test_more[lxd@5.0.2]",
    ]


@pytest.mark.parametrize(
    ("marker", "pairs"),
    [
        (
            "upgrade",
            ["incus@6.0.4-to-7.0.2", "incus@7.0.2-to-7.5.1", "lxd@5.0.2-to-5.0.2+git20231211"],
        ),
        (
            "downgrade",
            ["incus@7.0.2-to-6.0.4", "incus@7.5.1-to-7.0.2", "lxd@5.0.2+git20231211-to-5.0.2"],
        ),
    ],
)
def test_changes_are_between_neighbours_only(checkout, marker, pairs):
    checkout.ledger()
    checkout.scenario(f"@pytest.mark.{marker}\n{PLAIN}")
    assert cells(checkout.run(*COLLECT)) == [f"test_name.py::test_it[{pair}]" for pair in pairs]


def test_neighbours_are_those_among_the_chosen_builds(checkout):
    checkout.ledger()
    checkout.scenario(f"@pytest.mark.upgrade\n{PLAIN}")
    chosen = ("--build", "incus@6.0.4", "--build", "incus@7.5.1", "--build", "lxd@5.0.2")
    assert cells(checkout.run(*COLLECT, *chosen)) == ["test_name.py::test_it[incus@6.0.4-to-7.5.1]"]


def test_a_change_without_a_pair_is_dropped(checkout):
    checkout.ledger()
    checkout.scenario(f"{PLAIN}\n@pytest.mark.upgrade\ndef test_change(case): pass")
    result = checkout.run(*COLLECT, "--build", "incus@7.0.2")
    assert cells(result) == ["test_name.py::test_it[incus@7.0.2]"]
    result.stdout.fnmatch_lines(["*1 deselected*"])


@pytest.mark.parametrize("build", CATALOGUE.builds)
def test_the_builds_of_a_cell(build):
    assert builds_of(f"suites/a/test_b.py::test_c[{build.name}]", CATALOGUE) == [build]


def test_the_builds_of_a_change_the_judged_one_last():
    for old, new in CATALOGUE.pairs():
        node = f"suites/a/test_b.py::test_c[{old.name}-to-{new.asked}]"
        assert builds_of(node, CATALOGUE) == [old, new]
        node = f"suites/a/test_b.py::TestD::test_c[{new.name}-to-{old.asked}]"
        assert builds_of(node, CATALOGUE) == [new, old]


@pytest.mark.parametrize(
    "node",
    [
        "suites/a/test_b.py::test_c",
        "tests/test_b.py::test_c[5]",
        "tests/test_b.py::test_c[incus@9.9]",
        "tests/test_b.py::test_c[somebody@example.org]",
        "tests/test_b.py::test_c[incus@7.0.2-to-nowhere]",
    ],
)
def test_other_tests_need_no_builds(node):
    assert builds_of(node, CATALOGUE) == []


# What is refused


def test_a_scenario_that_documents_nothing(checkout):
    checkout.ledger()
    checkout.scenario("def test_it(): pass", issue=None)
    lines = refused(checkout.run(*COLLECT))
    assert "suites/membership/test_name.py::test_it: a scenario says what it documents" in lines[0]
    assert 'documents("id")' in lines[0]


def test_a_scenario_without_an_issue_s_id(checkout):
    checkout.ledger()
    checkout.scenario(f"pytestmark = pytest.mark.documents()\n{PLAIN}", issue=None)
    lines = refused(checkout.run(*COLLECT))
    assert lines[0].startswith("suites/membership/test_name.py::test_it: ")
    assert 'documents("id")' in lines[0]


def test_a_scenario_without_a_ledger_entry(checkout):
    checkout.scenario(f"{PLAIN}\n{PLAIN.replace('it', 'more')}")
    assert refused(checkout.run(*COLLECT)) == [
        'suites/membership/test_name.py::test_it: documents("lxd-1"), which no ledger file has; '
        "write test_name.toml",
        'suites/membership/test_name.py::test_more: documents("lxd-1"), which no ledger file has; '
        "write test_name.toml",
    ]


@pytest.mark.parametrize("code", [None, "", 'def test_it(): """documents nothing"""'])
def test_a_ledger_entry_without_a_scenario(checkout, code):
    checkout.ledger()
    checkout.scenario(PLAIN)
    checkout.ledger("storage/test_pool", id="lxd-2")
    if code is not None:
        (checkout.root / "suites/storage/test_pool.py").write_text(code)
    lines = refused(checkout.run(*COLLECT, "suites"))
    assert "suites/storage/test_pool.toml: no scenario beside it; write test_pool.py" in lines


def test_a_scenario_that_documents_another_file_s_issue(checkout):
    checkout.ledger()
    checkout.scenario(PLAIN)
    checkout.ledger("membership/test_other", id="lxd-2")
    checkout.scenario(PLAIN, "membership/test_other", issue="lxd-1")
    lines = refused(checkout.run(*COLLECT))
    assert (
        'suites/membership/test_other.py::test_it: documents("lxd-1"), whose ledger entry is '
        "test_name.toml and not test_other.toml"
    ) in lines


def test_a_scenario_with_values_of_its_own_is_refused(checkout):
    checkout.ledger()
    checkout.scenario('@pytest.mark.parametrize("n", [1, 2])\ndef test_it(case, n): pass')
    assert refused(checkout.run(*COLLECT)) == [
        "suites/membership/test_name.py::test_it: parametrize(n): a scenario is one cell for each "
        "build; write one scenario for each value"
    ]


def test_an_unknown_role(checkout):
    checkout.ledger()
    checkout.scenario(f'@pytest.mark.role("repair")\n{PLAIN}')
    (line,) = refused(checkout.run(*COLLECT))
    assert line == (
        'suites/membership/test_name.py::test_it: role("repair") is none of '
        "reproduction, workaround, control, injection"
    )


@pytest.mark.parametrize("beyond", ["", "def test_more(case): pass"])
def test_an_unknown_capability_of_a_scenario(checkout, beyond):
    checkout.ledger()
    checkout.scenario(f'@pytest.mark.requires("vm-instances", "teleport")\n{PLAIN}\n{beyond}')
    (line,) = refused(checkout.run(*COLLECT))
    assert line.startswith('suites/membership/test_name.py::test_it: requires("teleport") is none of ')
    assert "vm-instances" in line


def test_an_unknown_capability_in_the_ledger(checkout):
    checkout.ledger(needs=["teleport"])
    checkout.scenario(PLAIN)
    (line,) = refused(checkout.run(*COLLECT))
    assert line.startswith('suites/membership/test_name.toml: needs: "teleport" is none of ')


@pytest.mark.parametrize("condition", ["newer-schema", "extension"])
def test_an_unknown_condition(checkout, condition):
    checkout.ledger()
    checkout.scenario(f'@pytest.mark.applies_to("{condition}")\n{PLAIN}')
    (line,) = refused(checkout.run(*COLLECT))
    assert f'test_name.py::test_it: applies_to("{condition}")' in line
    assert "same-schema" in line


def test_an_unknown_key_in_the_ledger(checkout):
    path = checkout.ledger()
    path.write_text('fixed_in = "7.0"\n' + path.read_text())
    checkout.scenario(PLAIN)
    (line,) = refused(checkout.run(*COLLECT))
    assert line.startswith("suites/membership/test_name.toml: fixed_in: unknown key")


def test_all_problems_are_told_at_once(checkout):
    checkout.ledger(needs=["teleport"])
    checkout.scenario(f'@pytest.mark.role("repair")\n{PLAIN}')
    checkout.scenario(PLAIN, "membership/test_other", issue="lxd-2")
    assert len(refused(checkout.run(*COLLECT))) == 3


def test_an_unknown_marker(checkout):
    checkout.ledger()
    checkout.scenario(f"@pytest.mark.membres(3)\n{PLAIN}")
    result = checkout.run(*COLLECT)
    assert result.ret != pytest.ExitCode.OK
    result.stdout.fnmatch_lines(["*'membres' not found in `markers` configuration option*"])


@pytest.mark.parametrize(
    "marker",
    ['role("workaround")', "members(2)", 'requires("vm-instances")', 'applies_to("same-schema")', "upgrade"],
)
def test_known_markers(checkout, marker):
    checkout.ledger()
    checkout.scenario(f"@pytest.mark.{marker}\n{PLAIN}")
    assert checkout.run(*COLLECT).ret == pytest.ExitCode.OK


def test_tests_outside_of_the_suites_are_none_of_our_business(checkout):
    (checkout.root / "tests").mkdir()
    (checkout.root / "tests" / "test_unit.py").write_text("def test_y(): pass")
    checkout.ledger("storage/test_pool", id="lxd-2")
    result = checkout.run("tests")
    result.assert_outcomes(passed=1)
    assert result.ret == pytest.ExitCode.OK


# Issues


@pytest.fixture
def two_issues(checkout) -> FakeCheckout:
    checkout.ledger()
    checkout.scenario(PLAIN)
    checkout.ledger("membership/test_other", id="lxd-2")
    checkout.scenario(PLAIN, "membership/test_other", "lxd-2")
    return checkout


def test_changes_of_build_begin(two_issues):
    two_issues.ledger("upgrade/test_change", id="lxd-3")
    two_issues.scenario(PLAIN, "upgrade/test_change", "lxd-3")
    found = cells(two_issues.run(*COLLECT, "--build=incus@7.0.2"))
    assert [name.partition(".py")[0] for name in found] == ["test_change", "test_name", "test_other"]


def test_the_scenarios_of_chosen_issues(two_issues):
    build = "--build=incus@7.0.2"
    other = "test_other.py::test_it[incus@7.0.2]"
    assert cells(two_issues.run(*COLLECT, "--issue=lxd-2", build)) == [other]
    assert len(cells(two_issues.run(*COLLECT, "--issue=lxd-2", "--issue=lxd-1", build))) == 2


def test_an_issue_that_is_not_in_the_ledger(two_issues):
    assert refused(two_issues.run("--issue=lxd-22", "--issue=lxd-1")) == [
        '--issue: "lxd-22" is not in the ledger (nearest: lxd-2); known are lxd-1, lxd-2'
    ]
