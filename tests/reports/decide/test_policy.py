import pytest

from clusterproof.reports.decide.policy import FOLDER, PolicyError, load_policy, names
from clusterproof.reports.results.verdicts import Verdict

EXTENDS = 'extends = "expected"\n'
EXPLAINED = """
[[explained]]
issue = "lxd-15313"
build = "incus@7.0.2"
verdict = "regressed"
reason = "being looked into"
expires = 2026-12-31
"""


@pytest.mark.parametrize("name", names())
def test_every_policy_of_this_project_can_be_loaded(name):
    policy = load_policy(name)
    assert policy.name == name
    assert policy.explained == ()
    # What the ledger did not say beforehand stops a run; an improvement does not stop a build.
    improved = {Verdict.SILENTLY_FIXED} if policy.against else set()
    unexpected = {verdict for verdict in Verdict if not verdict.expected}
    assert unexpected - {Verdict.BLOCKED} - improved <= set(policy.fails)
    assert Verdict.BLOCKED in policy.blocks


def test_a_policy_extends_another_one(tmp_path):
    (tmp_path / "base.toml").write_text(f'extends = "nightly"\nmax_blocked = 2\n{EXPLAINED}')
    (tmp_path / "mine.toml").write_text(
        f'extends = "base.toml"\n{EXPLAINED.replace("lxd-15313", "lxd-1")}scenario = "test_x"\n'
    )
    policy = load_policy(str(tmp_path / "mine.toml"))
    assert (policy.name, policy.max_blocked) == ("mine", 2)
    assert policy.fails == load_policy("expected").fails
    assert [one.issue for one in policy.explained] == ["lxd-15313", "lxd-1"]


def explained(old, new):
    return EXTENDS + EXPLAINED.replace(old, new)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "fails: is missing; write it, or extend a policy that has it (and 1 more)"),
        ("x = ", "not TOML: "),
        ("\x00", "not TOML: "),
        ('extends = "lenient"', 'policy "lenient" is neither one of expected, nightly'),
        ("extends = 3", "extends: must be the name of a policy"),
        ('extends = "policy.toml"', "policies extend one another without end"),
        (EXTENDS + 'name = "x"', "name: a policy is called as its file"),
        (EXTENDS + "max_blokced = 3", "max_blokced: unknown key; known here are fails, blocks,"),
        (EXTENDS + "max_blocked = -1", "max_blocked: Input should be greater than or equal to 0 (value -1)"),
        (EXTENDS + 'fails = ["bad"]', "fails[0]: Input should be 'regressed'"),
        (EXTENDS + 'fails = ["blocked"]', "fails and blocks both name blocked"),
        (EXTENDS + 'against = "all"', "against: Input should be 'predecessor' (value all)"),
        (EXTENDS + "explained = 3", "explained: Input should be a valid tuple (value 3)"),
        (EXTENDS + '[[explained]]\nissue = "x"', "explained[0].build: is missing"),
        (explained("issue", "who"), "explained[0].issue: is missing"),
        (explained("reason", "why"), "explained[0].reason: is missing"),
        (explained("2026-12-31", '2026-12-31\nwho = "me"'), "explained[0].who: unknown key; known here are"),
        (
            explained("2026-12-31", '"soon"'),
            "explained[0].expires: must be a day without quotes, like 2026-12-31 (value soon)",
        ),
        (explained("2026-12-31", "2026-12-31T10:00:00Z"), "explained[0].expires: must be a day"),
        (explained("being looked into", " "), "explained[0].reason: must not be empty"),
        (explained("regressed", "clear"), 'explained[0].verdict: "clear" stops nothing in this policy'),
    ],
)
def test_a_bad_policy_is_one_line_that_says_what_is_wrong(tmp_path, text, words):
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(PolicyError) as caught:
        load_policy(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(f"{path}: ") or "lenient" in text


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"x = " + b"[" * 9999], ids=["no text", "nested without end"]
)
def test_a_file_that_is_no_policy(tmp_path, content):
    (tmp_path / "policy.toml").write_bytes(content)
    with pytest.raises(PolicyError, match="not TOML"):
        load_policy(str(tmp_path / "policy.toml"))
    with pytest.raises(PolicyError, match="nor a file"):
        load_policy(str(tmp_path))


def test_the_policies_say_what_they_are_for():
    assert all(path.read_text().startswith("# ") for path in FOLDER.glob("*.toml"))
