"""The transcript: whole lines of JSON, in order, without secrets, from any thread."""

from __future__ import annotations

import json
import string
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.lab.core.redaction import MARK
from clusterproof.lab.core.transcript import LIMIT, Transcript, shorten

SECRET = "3f9c1a" * 10


@pytest.fixture
def transcript(tmp_path) -> Transcript:
    return Transcript(tmp_path / "transcript.jsonl")


def steps(transcript: Transcript) -> list[dict]:
    transcript.flush()
    text = transcript.path.read_text(encoding="utf-8")
    assert text.endswith("\n")
    return [json.loads(line) for line in text.removesuffix("\n").split("\n")]


def test_a_step_says_when_what_and_what_came_of_it(transcript):
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    with transcript.step("run", "m1", "incus cluster list") as step:
        step["rc"] = 0
        step["stdout"] = "zwei\nLinien, ü\u2028und mehr"
    (found,) = steps(transcript)
    at = datetime.fromisoformat(found.pop("at"))
    assert before <= at <= datetime.now(UTC)
    assert found.pop("seconds") >= 0
    assert found == {
        "verb": "run",
        "target": "m1",
        "what": "incus cluster list",
        "rc": 0,
        "stdout": "zwei\nLinien, ü\u2028und mehr",
    }


def test_steps_stand_in_the_order_in_which_they_ended(transcript):
    with transcript.step("lab", "m1", "outer"):
        transcript.note("api", "m1", "inner", status=200)
    transcript.note("lab", "m1", "after")
    assert [step["what"] for step in steps(transcript)] == ["inner", "outer", "after"]


def test_an_error_is_recorded_and_goes_on(transcript):
    with pytest.raises(ValueError, match="no good"), transcript.step("write", "m1", "/etc/x"):
        raise ValueError("no good")
    with pytest.raises(KeyboardInterrupt), transcript.step("wait", "m1", "ready"):
        raise KeyboardInterrupt
    assert [step["error"] for step in steps(transcript)] == [
        "ValueError: no good",
        "KeyboardInterrupt: ",
    ]


def test_what_the_step_said_of_its_error_stands(transcript):
    def step():
        with transcript.step("api", "m1", "GET") as said:
            said["error"] = "refused"
            raise ValueError("no good")

    with pytest.raises(ValueError, match="no good"):
        step()
    assert steps(transcript)[0]["error"] == "refused"


def test_the_same_again_is_one_step(transcript):
    for status in ["Offline", "Offline", "Offline", "Online"]:
        transcript.note("api", "m1", "GET /1.0/cluster/members", answer=status)
    transcript.note("run", "m1", "true", rc=0)
    offline, online, run = steps(transcript)
    assert (offline["answer"], offline["times"]) == ("Offline", 3)
    assert (online["answer"], online.get("times", 1)) == ("Online", 1)
    assert run["verb"] == "run"
    assert offline["at"] <= online["at"] <= run["at"]


def test_flushing_twice_writes_once(transcript):
    transcript.note("run", "m1", "true")
    transcript.flush()
    transcript.flush()
    assert len(steps(transcript)) == 1


def test_secrets_are_out_before_anything_is_written(transcript):
    def run():
        with transcript.step("run", "m1", f"curl -d 'secret={SECRET}'") as step:
            step["stdin"] = f"cluster_token: {SECRET}\n"
            step["stdout"] = f'{{"secret": "{SECRET}"}}'
            step["lines"] = [f"trust_password: {SECRET}", {"body": f"password={SECRET}"}]
            step["extra"] = {"config": [f"secret: {SECRET}"]}
            raise ValueError(f"refused secret={SECRET}")

    with pytest.raises(ValueError, match="refused"):
        run()
    transcript.flush()
    text = transcript.path.read_text()
    assert SECRET not in text
    assert MARK in text


def test_a_private_key_in_the_middle_of_a_long_text(transcript):
    body = "MHcCAQEEIBase64OfThePrivateKeyAAAA0123456789\n"
    key = "-----BEGIN EC PRIVATE KEY-----\n" + body * 4 + "-----END EC PRIVATE KEY-----\n"
    # Wherever shortening cuts, the rest of the key must not stay.
    for lead in range(0, len(key), 29):
        fill = LIMIT - lead
        transcript.note("run", "m1", "cat", stdout="x" * (fill - len(key) // 2) + key + "y" * fill)
        transcript.note("run", "m1", "cat", stdout="x" * fill + key + "y" * (LIMIT // 2 - lead))
    transcript.flush()
    assert "Base64OfThePrivateKey" not in transcript.path.read_text()


def test_a_token_that_nobody_knows_where_a_long_text_is_cut(transcript):
    """Of a token whose beginning was cut, no pattern can tell what it is."""
    token = "eyJ" + "c2VjcmV0" * 40
    for lead in range(0, len(token), 40):
        outer = (LIMIT // 2 - lead) // 2
        transcript.note("run", "m1", "cat", stdout="x " * outer + token + " y" * LIMIT)
        transcript.note("run", "m1", "cat", stdout="x " * LIMIT + token + " y" * outer)
    transcript.flush()
    assert "c2VjcmV0" not in transcript.path.read_text()


def test_long_texts_lose_their_middle(transcript):
    transcript.note("run", "m1", "dmesg", stdout="a" * LIMIT + "b" * LIMIT)
    transcript.note("run", "m1", "dmesg", stdout="a" * LIMIT)
    cut, whole = (step["stdout"] for step in steps(transcript))
    assert len(cut) < LIMIT + 100
    assert cut.startswith("a" * 1000)
    assert cut.endswith("b" * 1000)
    assert f"{LIMIT} characters left out" in cut
    assert whole == "a" * LIMIT


@given(st.text(max_size=300), st.integers(min_value=2, max_value=200))
def test_shortening(text, limit):
    short = shorten(text, limit)
    if len(text) <= limit:
        assert short == text
    else:
        half = limit // 2
        assert short.startswith(text[:half])
        assert short.endswith(text[-half:])
        assert f"{len(text) - 2 * half} characters left out" in short


def test_without_a_path_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    transcript = Transcript()
    transcript.note("run", "m1", "true")
    transcript.flush()
    assert list(tmp_path.iterdir()) == []


def test_threads_do_not_tear_each_other_s_lines(transcript):
    ready = threading.Barrier(8)

    def work(name: str) -> None:
        ready.wait(10)
        for number in range(25):
            with transcript.step("run", name, f"step {number}") as step:
                step["stdout"] = string.printable * 40

    threads = [threading.Thread(target=work, args=(f"m{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = steps(transcript)
    assert sum(step.get("times", 1) for step in found) == 200
    for name in range(8):
        mine = [step["what"] for step in found if step["target"] == f"m{name}"]
        assert mine == [f"step {number}" for number in range(25)]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["run", "api", "wait"]), st.sampled_from(["m1", "m2"]), st.text(max_size=8)
        ),
        max_size=12,
    )
)
def test_every_step_is_told_once_and_in_order(tmp_path_factory, done):
    transcript = Transcript(tmp_path_factory.mktemp("t") / "transcript.jsonl")
    for verb, target, what in done:
        transcript.note(verb, target, what)
    told = []
    if done:
        for step in steps(transcript):
            told += [(step["verb"], step["target"], step["what"])] * step.get("times", 1)
    assert told == done
