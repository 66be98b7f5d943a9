from dataclasses import dataclass
from pathlib import Path

import pytest

from clusterproof.builds import Expectation
from clusterproof.reports.results.ledger import (
    LedgerError,
    Pattern,
    Symptom,
    entry_beside,
    load_ledger,
    read_issue,
)
from tests.samples import (
    DOWNGRADE,
    INCUS_604,
    INCUS_702,
    INCUS_751,
    LXD_502,
    LXD_GIT,
    RENAME,
    ROLLING,
    write_ledger,
)


@dataclass
class Checkout:
    root: Path

    def load(self, text, stem="upgrade/test_downgrade"):
        return load_ledger(write_ledger(self.root, {stem: text}))

    def problems(self, text, stem="upgrade/test_downgrade"):
        with pytest.raises(LedgerError) as caught:
            self.load(text, stem)
        assert all("\n" not in problem for problem in caught.value.problems)
        assert all(problem.startswith(f"suites/{stem}.toml: ") for problem in caught.value.problems)
        return [problem.removeprefix(f"suites/{stem}.toml: ") for problem in caught.value.problems]


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_what_is_written_is_what_is_read(checkout):
    issue = checkout.load(DOWNGRADE)["lxd-15313"]
    assert issue.title == "Downgrade inside an LTS channel breaks the cluster"
    assert issue.needs == ("container",)
    assert issue.path == checkout.root / "suites/upgrade/test_downgrade.toml"
    assert issue.scenarios == (checkout.root / "suites/upgrade/test_downgrade.py",)
    assert issue.ranges[1].fixed.claim == "6.0.1"


def test_expectations_are_those_of_the_build_s_product_and_track(checkout):
    downgrade = checkout.load(DOWNGRADE)["lxd-15313"]
    assert downgrade.expects(LXD_502) is Expectation.AFFECTED
    assert downgrade.expects(INCUS_604) is Expectation.FIXED
    assert downgrade.expects(INCUS_702) is Expectation.NOT_AFFECTED
    assert downgrade.expects(INCUS_751) is Expectation.UNKNOWN  # a track without a range


def test_expectations_of_other_products_and_of_promises(tmp_path):
    ledger = load_ledger(write_ledger(tmp_path))
    assert ledger["lxd-11534"].expects(INCUS_702) is Expectation.NOT_APPLICABLE
    assert ledger["lxd-11534"].expects(LXD_502) is Expectation.AFFECTED
    assert ledger["lxd-11534"].expects(LXD_GIT) is Expectation.FIXED
    assert ledger["rolling-upgrade"].expects(LXD_502) is Expectation.UNKNOWN


def test_the_symptom_is_found_line_by_line_and_once():
    symptom = Symptom(
        words="x",
        patterns=(
            Pattern(where="log", regex=r"^.*version is behind$"),
            Pattern(where="log", regex="behind"),
            Pattern(where="message", regex="first\nsecond"),
        ),
    )
    logs = ["start\nthis node's version is behind\nend", "nothing", "far behind it"]
    assert symptom.find({"log": logs}) == ["this node's version is behind", "far behind it"]
    assert symptom.find({"message": "a first\nsecond b\n"}) == ["a first", "second b"]
    # What a log says is no symptom where the message was to say it.
    assert symptom.find({"message": "behind", "log": []}) == []
    assert symptom.find({}) == []


def test_a_range_without_a_track_is_about_every_track_that_has_none_of_its_own(checkout):
    text = DOWNGRADE.replace('track = "7.0"\naffected', "affected")
    assert text != DOWNGRADE
    downgrade = checkout.load(text)["lxd-15313"]
    assert downgrade.expects(INCUS_604) is Expectation.FIXED
    assert downgrade.expects(INCUS_702) is Expectation.NOT_AFFECTED
    assert downgrade.expects(INCUS_751) is Expectation.NOT_AFFECTED
    assert downgrade.expects(LXD_502) is Expectation.AFFECTED


def test_the_modules_of_an_issue_begin_with_its_name(checkout):
    ledger = checkout.load(DOWNGRADE)
    folder = checkout.root / "suites/upgrade"
    write_ledger(checkout.root, {"upgrade/test_downgrade_schema": DOWNGRADE.replace("lxd-15313", "lxd-1")})
    others = ("test_downgrade_vm", "test_downgrade_schema_vm", "test_downgraded", "test_down")
    for name in (*others, "downgrade"):
        (folder / f"{name}.py").touch()
    found = {module.stem for module in ledger["lxd-15313"].scenarios}
    assert found == {"test_downgrade", "test_downgrade_vm"}
    assert entry_beside(folder / "test_downgrade_schema_vm.py") == folder / "test_downgrade_schema.toml"
    assert entry_beside(folder / "test_downgraded.py") == folder / "test_downgraded.toml"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('id = "lxd-15313"', 'id = "LXD 15313"', 'id: must be a slug: *(value "LXD 15313")'),
        ('id = "lxd-15313"', "id = 15313", "id: Input should be a valid string (value 15313)"),
        ('id = "lxd-15313"\n', "", "id: is missing"),
        ('title = "Downgrade', 'titel = "Downgrade', "title: is missing"),
        (
            'kind = "bug"',
            'kind = "feature"',
            "kind: Input should be 'bug' or 'promise' (value \"feature\")",
        ),
        (
            'area = "upgrade"',
            'area = "network"',
            'area: must be the name of its folder, "upgrade"*"network"*',
        ),
        ('["lxd", "incus"]', '["lxd", "lxc"]', "products[1]: *'lxd' or 'incus' (value \"lxc\")"),
        ('["lxd", "incus"]', '["lxd"]', 'ranges[1].product: "incus" is not among products (lxd)*'),
        ('["lxd", "incus"]', '["lxd", "incus", "lxd"]', "products: names lxd more than once*"),
        ('["lxd", "incus"]', "[]", "products: *at least 1*(value [])"),
        (
            '"https://github.com/lxc',
            '"http://github.com/lxc',
            "upstream[1]: must be an https:// address*",
        ),
        ('"https://github.com/lxc', '"javascript://x/lxc', "upstream[1]: must be an https:// address*"),
        ('["container"]', '"container"', 'needs: Input should be a valid array*(value "container")'),
        (
            'where = "log"',
            'where = "logs"',
            "symptom.patterns[0].where: *'log' or 'message' (value \"logs\")",
        ),
        (
            'regex = "version is behind"',
            'regex = "version (is"',
            "symptom.patterns[0].regex: not a regular expression (*)*(is*",
        ),
        (
            'regex = "version is behind"',
            'regex = ".*"',
            "symptom.patterns[0].regex: matches an empty text, *",
        ),
        (
            '"6.0.2", proof',
            '"six", proof',
            'ranges[1].fixed.version: version "six" does not begin*"six"*',
        ),
        ('proof = "run"', 'proof = "seen"', "ranges[1].fixed.proof: *'run' or 'code' (value \"seen\")"),
        ('version = "6.0.2"', "version = 6.0", "ranges[1].fixed.version: *valid string (value 6.0)"),
        (
            'version = "6.0.2"',
            "version = 2024-01-01",
            "ranges[1].fixed.version: *valid string*2024-01-01*",
        ),
        (
            '"6.0.2", proof',
            '"6.0.2", prove = 1, proof',
            "ranges[1].fixed.prove: unknown key; *claim (value 1)",
        ),
        ("fixed = ", "fixd = ", "ranges[1].fixd: unknown key; known here are *introduced, fixed*"),
        ("affected = false", 'affected = "no"', 'ranges[2].affected: *valid boolean (value "no")'),
        ("affected = false", "affected = 0", "ranges[2].affected: *valid boolean (value 0)"),
        (
            'product = "incus"\ntrack = "7.0"',
            'product = "lxd"\ntrack = "5.0"',
            "ranges[2].track: *ranges[0]",
        ),
        (
            'product = "lxd"\ntrack = "5.0"',
            'product = "lxd"',
            "ranges[0]: range lxd: names no track, which only affected = false may leave out",
        ),
        (
            'product = "incus"\ntrack = "7.0"',
            'product = "incus"\naffected = false\nproof = "code"\n[[ranges]]\nproduct = "incus"',
            "ranges[3].track: the whole of incus already has its range in ranges[2]",
        ),
        (
            'introduced = { version = "5.0.0"',
            'fixed = { version = "4.0", proof = "run" }\nintroduced = { version = "5.0.0"',
            "ranges[0]: range lxd 5.0: introduced 5.0.0 is not before fixed 4.0",
        ),
        ('kind = "bug"', 'kind = "promise"', 'ranges: a promise has none (kind = "promise")'),
        ('kind = "bug"', "kind = ", "not TOML: Invalid value (at line 3, column 8)"),
    ],
)
def test_what_is_wrong_is_named_with_file_key_and_value(checkout, old, new, problem):
    assert old in DOWNGRADE
    problems = checkout.problems(DOWNGRADE.replace(old, new, 1))
    assert any(_like(problem, one) for one in problems), problems


def _like(pattern, text):
    """Say whether the pieces of ``pattern`` between stars are in ``text``, in order from its start."""
    first, *rest = pattern.split("*")
    at = len(first) if text.startswith(first) else -1
    for piece in rest:
        if at < 0:
            return False
        found = text.find(piece, at)
        at = found + len(piece) if found >= 0 else -1
    return at == len(text) or (at >= 0 and pattern.endswith("*"))


def test_one_mistake_in_a_list_is_one_problem(checkout):
    assert len(checkout.problems(DOWNGRADE.replace('["lxd", "incus"]', '["lxc"]', 1))) == 1


def test_a_bug_needs_ranges_and_patterns(checkout):
    (problem,) = checkout.problems(ROLLING.replace("promise", "bug"), "upgrade/test_rolling")
    assert "ranges: a bug needs at least one" in problem
    assert "symptom: a bug needs at least one of patterns and shown" in problem


def test_what_the_crash_watch_judges_is_a_promise_that_needs_nothing(checkout):
    watched = ROLLING.replace("[symptom]", 'judged_by = "crash-watch"\n[symptom]')
    issue = checkout.load(watched, "upgrade/test_rolling")["rolling-upgrade"]
    assert issue.judged_by == "crash-watch"
    (of_bug,) = checkout.problems(DOWNGRADE.replace("[symptom]", 'judged_by = "crash-watch"\n[symptom]'))
    for problem in (
        'kind: what the crash watch judges is a promise, kind = "promise" (judged_by = "crash-watch")',
        "symptom: the crash watch recognises crashes itself; leave patterns and shown out",
        "needs: the crash watch is in every cell and needs nothing",
    ):
        assert problem in of_bug
    (problem,) = checkout.problems(watched.replace("crash-watch", "somebody"))
    assert problem.startswith("judged_by: Input should be 'scenarios' or 'crash-watch'")


def test_a_table_that_is_not_one(checkout):
    text = DOWNGRADE.split("[symptom]")[0] + 'symptom = "x"\nranges = "all"\n'
    problems = checkout.problems(text)
    assert any(problem.startswith("symptom: ") for problem in problems)
    assert any(problem.startswith("ranges: ") for problem in problems)


def test_a_long_value_is_cut(checkout):
    (problem,) = checkout.problems(DOWNGRADE.replace('"lxd-15313"', f'"{"X" * 5000}"', 1))
    assert len(problem) < 250


def test_files_that_are_not_text(tmp_path):
    path = tmp_path / "suites/upgrade/test_x.toml"
    path.parent.mkdir(parents=True)
    path.write_bytes(b'id = "\xff\xfe"')
    with pytest.raises(LedgerError, match=r"^suites/upgrade/test_x.toml: not UTF-8 at byte 6"):
        load_ledger(tmp_path)
    path.write_text("a = " + "[" * 20000)
    with pytest.raises(LedgerError, match=r"^suites/upgrade/test_x.toml: not TOML"):
        load_ledger(tmp_path)
    with pytest.raises(LedgerError, match="cannot be read: No such file"):
        read_issue(tmp_path / "none.toml")


def test_all_problems_of_all_files_are_told_at_once(tmp_path):
    write_ledger(
        tmp_path,
        {
            "upgrade/test_a": DOWNGRADE,
            "upgrade/test_b": DOWNGRADE,
            "membership/test_c": RENAME.replace('kind = "bug"', 'kind = "x"').replace("title", "titel"),
            "membership/test_d": "=",
        },
    )
    with pytest.raises(LedgerError) as caught:
        load_ledger(tmp_path)
    problems = caught.value.problems
    assert str(caught.value) == "\n".join(problems)
    assert [problem.partition(":")[0] for problem in problems] == [
        "suites/membership/test_c.toml",
        "suites/membership/test_c.toml",
        "suites/membership/test_c.toml",
        "suites/membership/test_d.toml",
        "suites/upgrade/test_b.toml",
    ]
    assert problems[-1] == (
        'suites/upgrade/test_b.toml: id: "lxd-15313" is already the id of suites/upgrade/test_a.toml; '
        "ids are unique"
    )


def test_a_checkout_without_suites(tmp_path):
    with pytest.raises(
        LedgerError, match=r'no folder "suites" in .*; run from the root of the checkout'
    ):
        load_ledger(tmp_path)
