import json
import os
import re
import shlex
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clusterproof.builds import Expectation
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.urls import cell_page
from clusterproof.reports.results import timeline as module
from clusterproof.reports.results.kept_evidence import command, kept, parameter
from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.results.sanitize import plain
from clusterproof.reports.results.timeline import TRANSCRIPT, Gap, read_timeline
from clusterproof.reports.results.verdicts import Observation
from clusterproof.reports.site.publish import publish
from clusterproof.reports.site.rendering import clock, lasted, size
from tests.pages import HOSTILE, TAGS, Page, load
from tests.samples import (
    DOWNGRADE,
    INCUS_604,
    INCUS_702,
    LXD_502,
    START,
    cell,
    sample_ledger,
    write_ledger,
    write_run,
)

AFFECTED_CELL = {
    "build": LXD_502,
    "observation": Observation.SYMPTOM,
    "expectation": Expectation.AFFECTED,
    "reason": "the member comes back: not within 30 s",
    "evidence": "evidence/lxd-15313-test-lxd@5.0.2",
}


def at(seconds):
    return (START + timedelta(seconds=seconds)).isoformat(timespec="milliseconds")


def step(begun, verb="run", target="m1", what="true", **more):
    return {"at": at(begun), "seconds": 0.1, "verb": verb, "target": target, "what": what} | more


STEPS = [
    step(0.5, "lab", "host", "make m1, m2, m3", seconds=1.5),
    step(2.0, "run", "m1", "lxd init --preseed", stdin="config: {}", rc=0, stdout="", stderr=""),
    step(3.0, "api", "m1", "GET /1.0/cluster", status=200, answer='{"a": {"b": 1}}'),
    step(21.4, "run", "m3", "test -S /socket", seconds=18.2, rc=22, stdout="", times=105),
    step(40.0, "api", "m2", "GET /1.0/x", status=503, answer="sorry"),
    step(
        21.4, "check", "scenario", "the member comes back", seconds=30.5, lines=["a", "b"], error="E: x"
    ),
    step(57.0, "lab", "host", "remove the cluster", seconds=1.0),
]


def write_transcript(folder, steps, tail=b""):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in steps]
    (folder / TRANSCRIPT).write_bytes(b"".join(line + b"\n" for line in lines) + tail)


@pytest.fixture
def ledger(tmp_path):
    return sample_ledger(tmp_path)


@pytest.fixture
def shown(tmp_path, ledger):
    """Publish a run of cells; the page of the first one's folder."""

    def publish_(*cells, steps=STEPS, files=None, tail=b""):
        run = write_run(tmp_path / "out/r1", list(cells))
        folder = run / cells[0].evidence
        write_transcript(folder, steps, tail)
        for name, content in (files or {}).items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        published = publish(run, ledger, now=START)
        assert published.problems == []
        return load(run / cell_page(cells[0].key))

    return publish_


def test_the_page_tells_the_verdict_and_everything_about_the_cell(shown):
    page_ = shown(cell(**AFFECTED_CELL), files={"symptom.txt": b"version is behind\n", "m1/a.log": b"x" * 1500})
    text = page_.words
    for said in (
        "Downgrade inside an LTS channel breaks the cluster LXD 5.0.2 test_one_extension_less",
        "● has the bug reproduced The documented symptom showed on an affected build.",
        "Expected affected Observed symptom Why the member comes back: not within 30 s",
        "The lines that show it version is behind",
        "✗ fails the member comes back at 0:21.4",
        "5.0.2-5+deb12u6, series 5.0, from debian 318 API extensions, database schema 60",
        "Runs in container",
        "Way out Stop all members",
        "members 1.5 s cluster 3.8 s scenario 8.5 s teardown 0.5 s in all 14 s",
        "7 steps, 3 of them marked",
        "m1 a.log 1.5 kB",
    ):
        assert said in text
    links = [one["href"] for one in page_.all("a")]
    kept_in = "../../../evidence/lxd-15313-test-lxd%405.0.2"
    assert {
        "../../../index.html",
        "../../../issues/lxd-15313.html",
        "../../../builds/lxd-5.0.2-5+deb12u6.html",
        "https://github.com/canonical/lxd/issues/15313",
        f"{kept_in}/m1/a.log",
        f"{kept_in}/symptom.txt",
        f"{kept_in}/{TRANSCRIPT}",
    } <= {*links}


def test_steps_are_told_in_the_order_they_began_with_a_check_before_what_it_did(tmp_path):
    write_transcript(tmp_path, STEPS)
    timeline = read_timeline(tmp_path / TRANSCRIPT, START)
    assert [(one.offset, one.verb, one.mark, one.trouble, one.inside) for one in timeline.steps] == [
        (0.5, "lab", "", "", False),
        (2.0, "run", "", "", False),
        (3.0, "api", "", "", False),
        (21.4, "check", "fails", "error", False),
        (21.4, "run", "rc 22", "odd", True),
        (40.0, "api", "status 503", "odd", True),
        (57.0, "lab", "", "", False),
    ]
    assert timeline.targets == ("host", "m1", "m2", "m3")
    preseed, answer = timeline.steps[1:3]
    assert preseed.sections == (("standard input", "config: {}"),)
    assert answer.sections == (("answer", '{\n  "a": {\n    "b": 1\n  }\n}'),)
    assert (timeline.steps[4].times, timeline.steps[4].seconds) == (105, 18.2)
    assert timeline.checks[0].sections == (("matching lines", "a\nb"),)


def test_a_check_that_holds_says_so(shown):
    steps = [step(1, "check", "scenario", "all are online")]
    assert "✓ holds all are online at 0:01.0" in shown(cell(evidence="evidence/a"), steps=steps).words


BROKEN = [
    b"{",
    b"null",
    b"[]",
    b'"x"',
    b"\xff\xfe\x00",
    b'{"at": "2026-03-02T21:04:01+00:00"',
    b"[" * 100_000,
    b'{"seconds": ' + b"9" * 5000 + b"}",
]


@pytest.mark.parametrize("line", BROKEN)
def test_a_line_that_is_no_step_costs_itself_only(shown, line):
    text = shown(cell(**AFFECTED_CELL), steps=[STEPS[0], line, STEPS[1]]).words
    assert "2 steps" in text
    assert "1 line of the transcript cannot be read." in text


def test_a_torn_last_line_is_told(shown):
    text = shown(cell(**AFFECTED_CELL), tail=b'{"at": "2026').words
    assert "7 steps" in text
    assert "1 line of the transcript cannot be read; the last one is cut off in the middle." in text


STRANGE = [
    {},
    {"at": 5, "seconds": "x", "verb": None, "target": [], "what": {"a": 1}, "times": "many", "rc": "9"},
    {"at": "soon", "seconds": -1, "times": 10**40, "status": 10**40, "rc": {"a": ["b"]}},
    {"at": "0001-01-01T00:00:00+23:59", "seconds": 1e308, "stdout": 7, "stderr": None, "error": ["a"]},
    {"at": "9999-12-31T23:59:59-23:59", "seconds": float("nan"), "lines": [1, {"a": None}], "error": 5},
    {
        "at": "2026-03-02T21:04:09",
        "seconds": True,
        "times": -4,
        "answer": "[" * 15_000,
        "what": "\ud800",
    },
    {"what": "{}" * 90_000, "answer": '{"a": 1e999}', **{f"key {n}": "x" for n in range(900)}},
    {"verb": "check", "what": ""},
]


@pytest.mark.parametrize("strange", STRANGE)
def test_a_strange_step_does_not_break_the_page(shown, strange):
    assert "3 steps" in shown(cell(**AFFECTED_CELL), steps=[STEPS[0], strange, STEPS[1]]).words


@given(
    st.dictionaries(
        st.sampled_from(
            ["at", "seconds", "verb", "target", "what", "times", "rc", "status", "error", "x"]
        ),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats()
            | st.text()
            | st.datetimes().map(str),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=5,
        ),
    )
)
def test_any_object_is_a_step(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("t")
    write_transcript(folder, [data])
    (one,) = read_timeline(folder / TRANSCRIPT, START).steps
    json.dumps(one).encode()
    assert "\n" not in one.what + one.verb + one.target


def test_of_many_steps_the_middle_is_left_out(shown):
    steps = [step(n, what=f"step {n}.") for n in range(2000)]
    text = shown(cell(**AFFECTED_CELL), steps=steps).words
    left_out = 2000 - module.FIRST - module.LAST
    assert f"{left_out:,} steps left out here; all of it is in transcript.jsonl" in text
    shown_ = {int(number) for number in re.findall(r" step (\d+)\.", text)}
    assert shown_ == {*range(module.FIRST), *range(2000 - module.LAST, 2000)}


def test_a_huge_transcript_makes_a_small_page(tmp_path, ledger):
    run = write_run(tmp_path / "r", [cell(**AFFECTED_CELL)])
    folder = run / AFFECTED_CELL["evidence"]
    write_transcript(folder, [step(1, what="first")])
    with (folder / TRANSCRIPT).open("ab") as file:
        file.write(json.dumps(step(2, stdout="<&'\">" * 200_000)).encode() + b"\n")
        file.truncate(100_000_000)  # as sparse as the disk allows
    with (folder / TRANSCRIPT).open("ab") as file:
        file.write(b"\n" + json.dumps(step(3, what="last")).encode() + b"\n")
    publish(run, ledger)
    html = (run / cell_page(cell(**AFFECTED_CELL).key)).read_text()
    assert len(html) < 100_000
    text = Page(html).words
    assert re.search(r"first 100 ms 100 MB left out here; .* last", text)


@pytest.mark.parametrize("length", [module.HEAD + module.TAIL + 10, 5_000_000])
def test_one_huge_line_is_left_out(tmp_path, length):
    write_transcript(tmp_path, [b'{"what": "' + b"x" * length + b'"}'])
    (gap,) = read_timeline(tmp_path / TRANSCRIPT, START).entries
    assert gap == Gap(0, length + 13)


def test_a_long_text_is_cut(tmp_path):
    write_transcript(tmp_path, [step(1, stdout="a" * 40_000, what="b" * 500)])
    (one,) = read_timeline(tmp_path / TRANSCRIPT, START).steps
    assert len(one.what) == 160
    full, out = one.sections
    assert full == ("in full", "b" * 500)
    assert "[... 20000 characters left out ...]" in out.text
    assert len(out.text) < 20_100


@pytest.mark.parametrize("text", [*HOSTILE, "\x1b]0;title\x07\x1b[8mhidden\x1b[0m", "\udc80\ud800"])
def test_hostile_content_stays_text(shown, text):
    name = "evidence/x" + re.sub(r"[\x00/\ud800-\udfff]", "", text)
    hostile = [
        step(1, verb=text, target=text, what=text, stdout=text, stderr=text, error=text, rc=text),
        {text: text, "lines": [text]},
    ]
    one = cell(**AFFECTED_CELL | {"reason": text, "scenario": f"a::{text}", "evidence": name})
    raw = text.encode(errors="surrogatepass")
    page_ = shown(one, steps=hostile, files={"symptom.txt": raw + b"\xff\x00\n", "m1/<b>&\x80.log": b""})
    assert {tag for tag, _ in page_.tags} <= TAGS
    allowed = {"href", "class", "id", "style", "content", "name", "type", "checked", "download", "rel"}
    allowed |= {
        "charset",
        "http-equiv",
        "lang",
        "role",
        "tabindex",
        "data-stale-days",
        "datetime",
        "title",
    }
    allowed |= {"hidden", "data-copies", "data-relative", "data-up", "property", "open"}
    allowed |= {"viewBox".lower(), "width", "height", "rx", "d", "reversed"}
    for _, attributes in page_.tags:
        assert {key for key in attributes if not key.startswith("aria-")} <= allowed
        assert re.fullmatch(r"flex: [\d.]+ 1 0", attributes.get("style", "flex: 1 1 0"))
    for link in page_.all("a"):
        assert re.fullmatch(r"#step-\d+|https://github\.com/.*|[\w.~%/#+-]+", link["href"], re.ASCII)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page_.text)


def test_text_for_a_page():
    assert plain("a\x1b[1;31mred\x1b[0m\r\nb\rc\x00\x07\x9b") == "ared\nb\nc"
    assert plain("\x1b]8;;http://x.example\x1b\\link\x1b]8;;\x07 \x1b(B\x1bMx") == "link x"
    assert plain("\x1b]never ended\nnext") == "]never ended\nnext"
    assert plain("a\u202eb\ud800\ufeff") == "a\ufffdb\ufffd\ufffd"
    assert plain("é ✓ \t\n") == "é ✓ \t\n"


@given(st.text())
def test_text_for_a_page_can_be_written(text):
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", plain(text))
    plain(text).encode()
    assert plain(plain(text)) == plain(text)


def test_symptom_lines_are_bounded(shown):
    page_ = shown(cell(**AFFECTED_CELL), files={"symptom.txt": (b"x" * 5000 + b"\n") * 2000})
    text = page_.words
    assert len(text) < 50_000
    assert "There are more in symptom.txt." in text


def test_of_repeats_in_one_folder_the_newest_is_told(shown):
    later = START + timedelta(seconds=100)
    newest = cell(**AFFECTED_CELL | {"observation": Observation.CONFORMS, "started": later, "reason": ""})
    steps = [*STEPS, step(101, what="of the newest"), step(102, "check", "scenario", "fine")]
    page_ = shown(newest, cell(**AFFECTED_CELL), steps=steps, files={"symptom.txt": b"version is behind\n"})
    text = page_.words
    assert "? free of it silently-fixed" in text
    assert "2 results are in this folder." in text
    assert "version is behind" not in text.replace("its version is behind", "")
    assert "Timeline 2 steps 7 steps of" in text
    assert "7 steps of an earlier result in the same folder are not shown" in text
    assert "0:01.0 m1 run of the newest" in text


def test_a_repeat_does_not_take_back_what_stands(shown):
    regressed = {"build": INCUS_702, "expectation": Expectation.FIXED, "evidence": "evidence/a"}
    first = cell(**AFFECTED_CELL | regressed)
    second = cell(**regressed, started=START + timedelta(seconds=9))
    page_ = shown(first, second)
    assert "✗ has the bug regressed The documented symptom showed on a build that should be free" in page_.words
    assert "The newest is free of it (conforms), but another try does not take back" in page_.words


def test_what_the_history_knows_is_told(tmp_path, ledger):
    for run, when in (("r1", START), ("r2", START + timedelta(days=1))):
        seen = Observation.CONFORMS if run == "r1" else Observation.SYMPTOM
        one = cell(**AFFECTED_CELL | {"run": run, "started": when, "observation": seen})
        folder = write_run(tmp_path / "out" / run, [one]) / AFFECTED_CELL["evidence"]
        folder.mkdir(parents=True)
        publish(folder.parent.parent, ledger)
    text = load(tmp_path / "out/r2" / cell_page(one.key)).words
    assert "Before free of it (silently-fixed) in the run before; changed 1 time in 2 runs" in text


def test_a_cell_that_did_not_run_has_a_page(shown):
    one = cell(evidence="evidence/a", observation=Observation.NOT_RUN, reason="needs a vm", seconds=0)
    text = shown(one, steps=[]).words
    assert "Why needs a vm" in text
    assert "Nothing was done: the scenario did not run." in text


def test_evidence_is_optional_and_must_lie_in_the_run(tmp_path, ledger):
    run = write_run(
        tmp_path / "out/r1",
        [
            cell(),
            cell(evidence="evidence/gone", build=LXD_502),
            cell(evidence="evidence/out", build=INCUS_604),
        ],
    )
    (run / "evidence").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (run / "evidence/out").symlink_to(tmp_path / "elsewhere")
    assert publish(run, ledger).problems == []
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert [one.name for one in (run / "evidence").iterdir()] == ["out"]


def test_links_and_special_files_are_no_evidence(tmp_path):
    (tmp_path / "m1").mkdir()
    (tmp_path / "m1/page.html").touch()
    (tmp_path / "m1/a b.log").write_bytes(b"123")
    (tmp_path / "m1/link").symlink_to("/etc/passwd")
    (tmp_path / "m2").symlink_to("/etc")
    (tmp_path / TRANSCRIPT).symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "m1/fifo")
    (group,), more = kept(tmp_path)
    assert more == 0
    assert group.member == "m1"
    assert [tuple(file) for file in group.files] == [
        ("a b.log", "m1/a%20b.log", 3, True),
        ("page.html", "m1/page.html", 0, False),
    ]
    assert read_timeline(tmp_path / TRANSCRIPT, START).entries == ()


def test_many_files_are_bounded(tmp_path):
    for number in range(350):
        (tmp_path / f"{number}.log").touch()
    (group,), more = kept(tmp_path)
    assert (len(group.files), more) == (300, 50)


def test_a_page_that_cannot_be_written_is_a_problem_and_no_end(tmp_path, ledger):
    run = write_run(tmp_path / "out/r1", [cell(**AFFECTED_CELL)])
    (run / cell_page(cell(**AFFECTED_CELL).key)).mkdir(parents=True)
    published = publish(run, ledger)
    (problem,) = published.problems
    assert problem.startswith('no page for "evidence/lxd-15313-test-lxd@5.0.2": ')
    assert problem in published.html.read_text().replace("&#34;", '"')
    assert published.missing == []


def test_publishing_again_changes_nothing(shown, tmp_path):
    shown(cell(**AFFECTED_CELL))
    path = tmp_path / "out/r1" / cell_page(cell(**AFFECTED_CELL).key)
    before = path.read_bytes()
    (tmp_path / "out/r1/results.jsonl").unlink()
    shown(cell(**AFFECTED_CELL))
    assert path.read_bytes() == before


def test_the_command_runs_the_cell_again():
    assert parameter(cell(build=INCUS_702)) == "incus@7.0.2"
    assert command(cell(build=INCUS_702)) == (
        'clusterproof qualify "suites/upgrade/test_downgrade.py::test_one_extension_less[incus@7.0.2]"'
    )
    change = cell(build=INCUS_604, peer=INCUS_702)
    assert parameter(change) == "incus@7.0.2-to-6.0.4"
    assert command(change) == (
        "clusterproof qualify --build incus@7.0.2 --build incus@6.0.4 "
        '"suites/upgrade/test_downgrade.py::test_one_extension_less[incus@7.0.2-to-6.0.4]"'
    )


@given(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1))
def test_the_command_is_quoted(scenario):
    text = command(cell(scenario=scenario, build=INCUS_702))
    assert shlex.split(text) == ["clusterproof", "qualify", f"{scenario}[incus@7.0.2]"]
    if not text.endswith("'"):
        assert not re.search(r"[$`\\!]", text)


def test_words_for_sizes_and_times():
    assert [size(n) for n in (0, 999, 1000, 9949, 35_600, 999_499, 999_500, 10**8, 10**15)] == [
        "0 B",
        "999 B",
        "1.0 kB",
        "9.9 kB",
        "36 kB",
        "999 kB",
        "1.0 MB",
        "100 MB",
        "1000000 GB",
    ]
    assert [clock(n) for n in (0, 21.44, 59.96, 723, -3)] == [
        "0:00.0",
        "0:21.4",
        "1:00.0",
        "12:03.0",
        "-0:03.0",
    ]
    assert [lasted(n) for n in (0.009, 1.41, 12.4, 185)] == ["9 ms", "1.4 s", "12 s", "3 min 05 s"]


def test_a_ledger_that_changed_since_judges_nothing_again_but_is_told(tmp_path, ledger):
    run = write_run(tmp_path / "out/r1", [cell(**AFFECTED_CELL), cell(build=INCUS_702)])
    (run / AFFECTED_CELL["evidence"]).mkdir(parents=True)
    publish(run, ledger)
    assert "What is documented has changed" not in (run / "issues/lxd-15313.html").read_text()
    edited = DOWNGRADE.replace(
        'introduced = { version = "5.0.0", proof = "code" }',
        'fixed = { version = "5.0.1", proof = "run" }',
    )
    write_ledger(tmp_path, {"upgrade/test_downgrade": edited})
    changed = load_ledger(tmp_path)
    published = publish(run, changed)
    on_build = published.matrix.cells["lxd-15313"]["lxd@5.0.2-5+deb12u6"]
    assert on_build.verdict == "reproduced"
    (scenario,) = on_build.scenarios
    assert (scenario.expectation, scenario.expects_now) == ("affected", "fixed")
    text = load(run / "issues/lxd-15313.html").words
    assert (
        "What is documented has changed since 1 result of this issue was judged. LXD 5.0.2, "
        "test_one_extension_less: expected affected then, fixed now The verdicts are those given then."
    ) in text
    text = load(run / cell_page(cell(**AFFECTED_CELL).key)).words
    assert (
        "What is documented has changed since. Expected was affected when this verdict was given, "
        "and is fixed now."
        in text
    )


def test_what_the_ledger_cannot_know_is_no_change_of_it(ledger):
    aside = cell(observation=Observation.NOT_RUN, expectation=Expectation.NOT_APPLICABLE)
    repaired = cell(build=LXD_502, role="workaround")  # of an affected build
    matrix = build_matrix([aside, repaired, cell(issue="gone-1")], ledger)
    told = [one for row in matrix.cells.values() for met in row.values() for one in met.scenarios]
    assert len(told) == 3
    assert all(one.expects_now is None for one in told)
