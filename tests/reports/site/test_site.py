"""The site: every page of it, from results that are a sample, old, hostile or missing."""

import json
import re
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from clusterproof.builds import Bound, Build, Expectation, Range
from clusterproof.reports.commands import app
from clusterproof.reports.exports.allure_results import address
from clusterproof.reports.history.flakes import Flakes
from clusterproof.reports.matrix.urls import build_page, cell_page, issue_page
from clusterproof.reports.results.answers import Answer, answer
from clusterproof.reports.results.ledger import load_ledger
from clusterproof.reports.results.proofs import ProofLine, write_proofs
from clusterproof.reports.results.verdicts import Observation, Verdict
from clusterproof.reports.site import published_evidence
from clusterproof.reports.site.publish import publish, publish_site
from clusterproof.reports.site.rendering import ago, bounds, duration, is_web, script
from tests.pages import HOSTILE, TAGS, Page, check_links, load
from tests.samples import (
    BUILDS,
    INCUS_604,
    INCUS_702,
    LXD_502,
    START,
    build,
    cell,
    record,
    sample_ledger,
    sample_run,
    stand_in_checkout,
    write_run,
)

DAY = timedelta(days=1)


@pytest.fixture
def ledger(tmp_path):
    return sample_ledger(tmp_path)


@pytest.fixture
def run(ledger):
    return sample_run(ledger)


@pytest.fixture
def out(tmp_path, ledger, run):
    """The site of two runs, the second of which saw one thing otherwise."""
    again = sample_run(ledger, "second", START + DAY)
    regressed = next(one for one in run if one.verdict is Verdict.REGRESSED)
    for name, cells in (("first", run), ("second", [one for one in again if one.key != regressed.key])):
        folder = write_run(tmp_path / "out" / cells[0].run, cells)
        for one in cells:
            if one.evidence:
                (folder / one.evidence / "m1").mkdir(parents=True)
                (folder / one.evidence / "m1/daemon.log").write_text(f"{name} {one.verdict}\n")
                (folder / one.evidence / "transcript.jsonl").write_text('{"verb": "run", "what": "x"}\n')
        publish(folder, ledger, now=START + DAY)
    later = cell(
        **regressed.model_dump(exclude={"verdict", "run", "started", "observation", "build", "phases"}),
        build=regressed.build,
        run="third",
        started=START + 2 * DAY,
        observation=Observation.CONFORMS,
    )
    publish(write_run(tmp_path / "out/third", [later]), ledger, now=START + 2 * DAY)
    made = publish_site(
        tmp_path / "out/site", ledger, tmp_path / "out/history.sqlite", now=START + 3 * DAY
    )
    assert made.problems == []
    return tmp_path / "out/site"


def test_every_link_leads_somewhere(out, tmp_path):
    assert check_links(out) > 400
    assert check_links(tmp_path / "out/second") > 300


def test_pages_ask_no_other_host_and_run_no_script_but_ours(out):
    for path in out.rglob("*.html"):
        html = path.read_text()
        page = Page(html)
        assert {tag for tag, _ in page.tags} <= TAGS
        assert all(one["href"].startswith("data:") or one["rel"] == "alternate" for one in page.all("link"))
        assert "@import" not in html
        assert not re.search(r"url\((?!#)", html)
        (policy,) = [one["content"] for one in page.all("meta") if "http-equiv" in one]
        assert "default-src 'none'" in policy
        digest = re.search(r"script-src '(sha256-[^']+)'", policy)[1]
        assert digest in {
            script("common", *names).digest
            for names in ([], ["matrix"], ["versions", "compare"], ["versions", "lookup"])
        }
        assert not any("src" in attributes for _, attributes in page.tags)


def test_the_front_page_tells_all_without_colours(out):
    words = load(out / "words.html").words
    for verdict in Verdict:
        behind = "" if verdict is Verdict.NOT_APPLICABLE else f" {verdict}"
        assert f"{verdict.sign} {answer(verdict)}{behind}" in words
        assert verdict.meaning in words or verdict is Verdict.NOT_APPLICABLE
    for one in Answer:
        assert one.meaning in words
    words = load(out / "index.html").words
    for said in ("● has the bug reproduced", "✓ free of it conforms", "▲ fails otherwise failed", "no run"):
        assert said in words
    assert (
        "3 results not as documented, 1 blocked by the lab of 24 results: 4 issues on 5 builds" in words
    )
    assert "the newest 24 h ago, the oldest 2 days ago" in words
    assert "Changed since the run before 1" in words
    assert "3 runs, 48 results in all." in words


def test_the_front_page_has_real_tables(out):
    page = load(out / "index.html")
    assert [one.get("aria-label") for one in page.all("table")] == ["Compatibility matrix", None]
    assert len(page.all("caption")) == 1
    assert {one.get("scope") for one in page.all("th")} == {"col", "colgroup", "row", "rowgroup"}


def test_a_cell_of_the_matrix_tells_runs_flips_age_and_what_it_was(out):
    words = load(out / "index.html").words
    assert "✓ free of it conforms before: has the bug (regressed) 1 flip" in words
    assert "● has the bug reproduced ✓ way out works" in words
    assert "After cluster rename the running daemon keeps the old name lxd-11534" in words
    assert "lxd-11534 proven" not in words


def test_how_often_repeats_differ_is_told_where_something_was_repeated(tmp_path, ledger):
    seen = [Observation.SYMPTOM, *[Observation.CONFORMS] * 11]
    several = [
        cell(run=f"r{day}", suite="s", started=START + day * DAY, observation=one)
        for day, one in enumerate(seen)
    ]
    alone = cell(suite="s", issue="lxd-11534")
    record(tmp_path / "history.sqlite", [*several, alone])
    matrix = publish_site(tmp_path / "site", ledger, tmp_path / "history.sqlite").matrix
    said = "1 of 12 repeats differed: 1.5-35 %"
    assert f"Flakes {said} (same build, same suite; 95 % interval)" in words(tmp_path, several[0])
    assert said in load(tmp_path / "site/issues/lxd-15313.html").words
    assert f"always show the same: {said}" in (tmp_path / "site/index.html").read_text()
    assert matrix.scenario(several[-1]).flakes == Flakes(1, 12)
    assert json.loads(matrix.json_text())["cells"]["lxd-15313"]["incus@7.0.2-3~bpo13+1"]["scenarios"][0][
        "flakes"
    ] == {"differing": 1, "repeats": 12}
    for unrepeated in (words(tmp_path, alone), load(tmp_path / "site/issues/lxd-11534.html").words):
        assert "differed" not in unrepeated


def words(folder, one):
    return load(folder / "site" / cell_page(one.key)).words


def test_substrates_are_told_apart(tmp_path, ledger):
    cells = [
        cell(),
        cell(substrate="vm", observation=Observation.SYMPTOM),
        cell(substrate="vm", scenario="suites/x.py::test_other"),
    ]
    publish(write_run(tmp_path / "r", cells), ledger)
    page = load(tmp_path / "r/index.html")
    met = [one for one in page.all("a") if one.get("class", "").startswith("on-build")]
    assert {one["data-substrate"]: one["data-verdict"] for one in met} == {
        "container": "conforms",
        "vm": "regressed",
    }
    assert check_links(tmp_path / "r")


def test_an_issue_is_told_with_ranges_and_what_proves_them(out):
    page = load(out / "issues/lxd-15313.html")
    assert "https://github.com/lxc/incus/issues/999" in page.links
    for said in (
        "Incus 6.0 ● before 6.0.2: affected, documented only "
        "✓ 6.0.2 and later: not affected, shown by runs ✓ 6.0.4 correct",
        "Fixed in 6.0.2: read in upstream's code; runs showed ≤ 6.0.4; upstream says 6.0.1.",
        "Before 6.0.2: not tested. From 6.0.2 on: correct on Incus 6.0.4 (2 results, last in run second).",
        "Incus 7.0 ✓ every version: not affected, shown by runs ✓ 7.0.2 correct",
        "Way out Stop all members, set api_extensions",
        "✓ verified on LXD 5.0.2, LXD 5.0.2+git20231211 Or upgrade to Incus 6.0.2",
        "LXD 5.0.2 ● has the bug reproduced 5.0.2-5+deb12u6",
        "workaround, container, expected not-affected",
    ):
        assert said in page.words
    assert (
        "Does not concern Incus 6.0.4, Incus 7.0.2, Incus 7.5.1."
        in load(out / "issues/lxd-11534.html").words
    )


def test_an_issue_has_the_proofs_that_its_ledger_keeps(tmp_path, ledger):
    issue = ledger["lxd-15313"]
    one = build("incus@6.0.1", "6.0.1+sideload.5ef", "6.0")
    older = cell(build=one, expectation="affected", observation=Observation.SYMPTOM)
    proof = ProofLine.of(older, ["m2: <i>this node's version is behind"])
    assert proof
    write_proofs(issue, [proof])
    record(tmp_path / "history.sqlite", [cell(build=INCUS_604)])
    publish_site(tmp_path / "site", ledger, tmp_path / "history.sqlite")
    page = load(tmp_path / "site/issues/lxd-15313.html")
    for said in (
        "Fixed in 6.0.2: shown by runs (> 6.0.1, ≤ 6.0.4); upstream says 6.0.1.",
        "Incus 6.0.1 6.0.1+sideload.5ef symptom test_one_extension_less m2: <i>this node's version is behind",
        "20260302-2104 2026-03-02, 1 result, suite 4f1e0c9a7b3d2865",
    ):
        assert said in page.words
    # The build of a proof that this history does not know has no page to lead to.
    assert check_links(tmp_path / "site")


def test_an_issue_without_results_has_a_page(tmp_path, ledger):
    record(tmp_path / "history.sqlite", [cell()])
    publish_site(tmp_path / "site", ledger, tmp_path / "history.sqlite")
    assert (
        "Nothing: no scenario of this issue has a result."
        in load(tmp_path / "site/issues/lxd-15218.html").words
    )
    assert "no run An instance" not in load(tmp_path / "site/index.html").words
    assert check_links(tmp_path / "site")


def test_the_source_of_the_scenarios_is_shown_as_text(tmp_path, ledger):
    source = 'def test_it() -> None:\n    """</pre><script>alert(1)</script>"""\n'
    (module,) = ledger["lxd-15313"].scenarios
    module.write_text(source)
    module.with_name(f"{module.stem}_twice.py").write_text("def test_twice() -> None: ...\n")
    publish(write_run(tmp_path / "r", [cell()]), ledger)
    page = load(tmp_path / "r/issues/lxd-15313.html")
    assert "suites/upgrade/test_downgrade_twice.py, as it is in this checkout" in page.words
    assert "def test_twice() -> None: ..." in page.words
    assert 'def test_it() -> None: """</pre><script>alert(1)</script>"""' in page.words
    assert len(page.all("script")) == 1


def test_a_build_is_told_with_its_bugs_and_what_changed(tmp_path, ledger):
    old, new = build("lxd@5.0.1", "5.0.1-1", "5.0"), LXD_502
    affected = {"observation": Observation.SYMPTOM, "expectation": Expectation.AFFECTED}
    fine = {"observation": Observation.CONFORMS, "expectation": Expectation.FIXED}
    cells = [
        cell(build=old, **affected),
        cell(build=new, **fine),
        cell(build=old, issue="lxd-11534", scenario="a::b", **fine),
        cell(
            build=new, issue="lxd-11534", scenario="a::b", **fine | {"observation": Observation.SYMPTOM}
        ),
        cell(build=new, issue="lxd-15218", scenario="a::c", **affected),
    ]
    publish(write_run(tmp_path / "r", cells), ledger)
    words = load(tmp_path / "r" / build_page("lxd@5.0.2-5+deb12u6")).words
    for said in (
        "May it ship? ✗ No",
        "1 not as documented 1 worse than LXD 5.0.1 1 fixed since 2 still open (0 with a verified way out) "
        "1 not judged",
        "The gate under the policy “expected”: not passed: 1 cell not as expected",
        "Worse than LXD 5.0.1 1 ✗ has the bug regressed After cluster rename the running daemon keeps the old "
        "name free of it (conforms) in LXD 5.0.1",
        "Has the bug 2",
        "Way out lxc cluster restore MEMBER --action=skip",
        "Fixed since LXD 5.0.1 1 The build before it in its series. Compare the two "
        "✓ free of it conforms Downgrade inside an LTS channel breaks the cluster",
    ):
        assert said in words
    words = load(tmp_path / "r" / build_page("lxd@5.0.1-1")).words
    assert "No older build of LXD has results to compare with." in words
    assert "Not judged 2" in words


def test_a_build_without_an_older_one_in_its_track_is_compared_with_the_newest_older(tmp_path, ledger):
    publish(write_run(tmp_path / "r", [cell(build=INCUS_604), cell(build=INCUS_702)]), ledger)
    words = load(tmp_path / "r" / build_page("incus@7.0.2-3~bpo13+1")).words
    assert (
        "No older build of series 7.0 has results; this is the newest older one, of series 6.0." in words
    )


def test_a_first_run_compares_with_no_run_before_it(tmp_path, ledger):
    first = cell(build=LXD_502)
    publish(write_run(tmp_path / "r", [first, cell()]), ledger)
    assert "since the run before" not in load(tmp_path / "r/index.html").words
    # Nor is there an older build; any two are better than one with itself.
    data = load(tmp_path / "r/compare.html").all("option")
    assert [one["value"] for one in data if "selected" in one] == [
        "incus@7.0.2-3~bpo13+1",
        "lxd@5.0.2-5+deb12u6",
    ]
    publish(write_run(tmp_path / "s", [cell(run="s", started=START + DAY)]), ledger)
    assert "Nothing that an earlier run had seen has changed." in load(tmp_path / "s/index.html").words


def test_an_empty_run_says_so(tmp_path, ledger):
    publish(write_run(tmp_path / "r", []), ledger)
    assert "Nothing was judged" in load(tmp_path / "r/index.html").words
    assert "nothing to compare" in load(tmp_path / "r/compare.html").words


def test_problems_are_told(tmp_path, ledger):
    folder = write_run(tmp_path / "r", [])
    (folder / "results.jsonl").write_text('{"run"')
    publish(folder, ledger)
    assert "results.jsonl:1: cut off in the middle" in load(folder / "index.html").words


def evil(ledger, text):
    issue = ledger["lxd-15313"]
    return issue.model_copy(
        update={
            "title": text,
            "workaround": text,
            "symptom": issue.symptom.model_copy(update={"words": text}),
            "upstream": (text,),
            "needs": (text,),
        }
    )


@pytest.mark.parametrize("text", [*HOSTILE, "<b>" * 400])
def test_hostile_text_stays_text(tmp_path, ledger, text):
    called = Build(
        **INCUS_702.model_dump(exclude={"name", "track", "source", "schema_version"}),
        name=text,
        track=text,
        source=text,
    )
    cells = [
        cell(scenario=text, reason=text, build=called),
        cell(issue=text, peer=called, evidence="evidence/x" + text.replace("\x00", "").replace("..", "")),
        cell(run="later", scenario=text, reason=text, build=called, started=START + DAY),
    ]
    folder = write_run(tmp_path / "r", cells)
    published = publish(folder, {"lxd-15313": evil(ledger, text)})
    assert published.problems == []
    pages = [load(path) for path in folder.rglob("*.html")]
    assert len(pages) == 2 + 1 + 2 * 2 + 4 + 2
    for page in pages:
        assert {tag for tag, _ in page.tags} <= TAGS
        assert len(page.all("script")) <= 2
        assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
        assert not any("src" in attributes for _, attributes in page.tags)
        for link in page.links:
            assert re.fullmatch(r"[\w.~%/#=@&+-]+|https://github\.com/.*", link, re.ASCII), link
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", page.text)
    assert check_links(folder)
    # Data for a script is data, whatever it says.
    data = re.search(r'id="data">(.*?)</script>', (folder / "compare.html").read_text(), re.DOTALL)[1]
    assert json.loads(data)["issues"][0]["title"] == text


@pytest.mark.parametrize(
    ("address", "web"),
    [
        ("https://github.com/x", True),
        ("http://x.example/", True),
        ("javascript:alert(1)", False),
        ("JavaScript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,x", False),
        ("//x.example", False),
        ("https:", False),
        ("http://[", False),
        ("", False),
    ],
)
def test_only_web_addresses_become_links(address, web):
    assert is_web(address) is web


def test_words_for_ranges_and_times():
    def entry(**values):
        return Range(product="lxd", track="5.0", **values)

    low, high = Bound(version="5.1", proof="run"), Bound(version="5.3", proof="run")
    assert bounds(entry(introduced=low, fixed=high)) == "from 5.1, fixed in 5.3"
    assert bounds(entry(introduced=low)) == "from 5.1, never fixed"
    assert bounds(entry(fixed=high)) == "from the beginning, fixed in 5.3"
    assert bounds(entry(proof="run")) == "all versions"
    assert bounds(entry(affected=False, proof="run")) == "not affected"
    assert [duration(one) for one in (0.44, 9.99, 59.6, 125)] == [
        "0.4 s",
        "10.0 s",
        "1 min 00 s",
        "2 min 05 s",
    ]
    ages = [timedelta(seconds=-9), timedelta(minutes=59), timedelta(hours=47), timedelta(days=9)]
    assert [ago(START - age, START) for age in ages] == [
        "0 min ago",
        "59 min ago",
        "47 h ago",
        "9 days ago",
    ]


# The site of all runs


def test_earlier_results_have_pages_where_their_run_is_kept(out):
    one = cell(build=LXD_502, expectation=Expectation.AFFECTED, observation=Observation.SYMPTOM)
    newest = load(out / cell_page(one.key))
    assert "reproduced 20260302-2104" in newest.words
    assert "../../../" + cell_page(one.key).replace("index", "20260302-2104") in newest.links
    earlier = load(out / cell_page(one.key).replace("index", "20260302-2104"))
    assert "An earlier result, of run 20260302-2104." in earlier.words
    for page, run in ((newest, "second"), (earlier, "20260302-2104")):
        (log,) = [link for link in page.links if link.endswith("daemon.log")]
        assert f"/runs/{run}/evidence/" in log


def test_evidence_is_copied_as_text_of_bearable_size(tmp_path, ledger):
    one = cell(evidence="evidence/a")
    folder = write_run(tmp_path / "out" / one.run, [one]) / "evidence/a"
    (folder / "m1").mkdir(parents=True)
    (folder / "m1/page.html").write_text("<script>alert(1)</script>")
    (folder / "m1/small.log").write_bytes(b"caf\xe9\n")
    with (folder / "m1/huge.log").open("wb") as file:
        file.write(b"begin\n" * 100_000)
        file.truncate(100_000_000)
        file.seek(0, 2)
        file.write(b"\nthe end\n")
    record(tmp_path / "out/history.sqlite", [one])
    made = publish_site(tmp_path / "site", ledger, tmp_path / "out/history.sqlite")
    assert made.problems == []
    copy = tmp_path / "site/runs" / one.run / "evidence/a/m1"
    assert sorted(path.name for path in copy.iterdir()) == ["huge.log", "page.html.txt", "small.log"]
    assert (copy / "small.log").read_text() == "caf\ufffd\n"
    text = (copy / "huge.log").read_text()
    assert len(text) < published_evidence.HEAD + published_evidence.TAIL + 100
    assert text.startswith("begin\n")
    assert text.endswith("\nthe end\n")
    assert re.search(r"\[\.\.\. \d{8} bytes left out: the whole is with the run \.\.\.\]", text)
    assert sum(path.stat().st_size for path in tmp_path.glob("site/**/*") if path.is_file()) < 3_000_000


def test_cells_lead_to_allure_where_its_report_is_there(out, tmp_path, ledger):
    page = out / cell_page(cell().key)
    assert "Allure" not in load(page).words
    (out / "allure").mkdir()
    (out / "allure/index.html").touch()
    publish_site(out, ledger, tmp_path / "out/history.sqlite")
    assert "../../../" + address(cell().key) in load(page).links
    assert "allure/index.html" in load(out / "index.html").links


def test_a_run_whose_folder_is_gone_has_results_and_no_evidence(tmp_path, ledger):
    record(tmp_path / "history.sqlite", [cell(evidence="evidence/a", run="elsewhere")])
    publish_site(tmp_path / "site", ledger, tmp_path / "history.sqlite")
    words = load(tmp_path / "site" / cell_page(cell().key)).words
    assert "The files of run elsewhere are not where this page was made, only its results." in words


def test_folders_of_runs_can_be_named(tmp_path, ledger, run):
    first = write_run(tmp_path / "a", run)
    (first / "results.jsonl").open("a").write('{"run"')
    made = publish_site(tmp_path / "site", ledger, tmp_path / "history.sqlite", [first])
    assert len(made.problems) == 1
    assert made.matrix.generated_from.results == 24


def test_what_is_old_is_removed_and_what_is_not_ours_is_not_touched(out, tmp_path, ledger):
    (out / "issues/gone-1.html").write_text("old")
    (out / "cells/gone-1/x").mkdir(parents=True)
    (out / "cells/gone-1/x/index.html").write_text("old")
    (out / "allure").mkdir()
    (out / "allure/index.html").write_text("not ours")
    before = {path for path in out.rglob("*") if "gone-1" not in path.parts and path.stem != "gone-1"}
    publish_site(out, ledger, tmp_path / "out/history.sqlite")
    assert {*out.rglob("*")} == before
    (tmp_path / "home").mkdir()
    (tmp_path / "home/precious").touch()
    with pytest.raises(
        RuntimeError, match="holds something else than a site; name a new folder with --out"
    ):
        publish_site(tmp_path / "home", ledger, tmp_path / "out/history.sqlite")
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["precious"]


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    stand_in_checkout(tmp_path, monkeypatch)
    return tmp_path


def invoke(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


def test_the_command_makes_a_site(checkout, run):
    publish(write_run(checkout / "out" / run[0].run, run), load_ledger(checkout))
    result = invoke("site")
    assert (result.exit_code, result.output) == (0, "site: out/site/index.html\n")
    assert (checkout / "out/site/index.html").is_file()
    assert invoke("site", "--stale", 3).exit_code == 0
    assert 'data-stale-days="3"' in (checkout / "out/site/index.html").read_text()


def test_what_keeps_the_command_from_making_a_site_is_told_in_one_line(checkout, run):
    assert invoke("site").stderr == (
        'error: no history "out/history.sqlite"; make one with clusterproof qualify, '
        "or name another with --history\n"
    )
    assert invoke("site", "gone").stderr == (
        'error: no run folder "gone"; make one with clusterproof qualify, or name the folder of one\n'
    )
    write_run(checkout / "out/r", run)
    (checkout / "file").touch()
    result = invoke("site", "out/r", "--out", "file/site")
    assert result.exit_code == 64
    assert re.fullmatch(
        r'error: cannot use "file/site[^"]*": Not a directory; name .* --out\n', result.stderr
    )
    (checkout / "broken").write_text("x" * 999)
    result = invoke("site", "--history", "broken")
    assert result.exit_code == 64
    assert result.stderr.startswith('error: history "broken" cannot be used (file is not a database)')
    assert result.stderr.count("\n") == 1


def test_a_run_with_another_name_than_its_folder_is_found(tmp_path, ledger):
    one = cell(evidence="evidence/a", run="20260302-1111")
    folder = write_run(tmp_path / "out/elsewhere", [one])
    (folder / "evidence/a").mkdir(parents=True)
    (folder / "evidence/a/x.log").write_text("x")
    (tmp_path / "out/latest").symlink_to("elsewhere")
    publish_site(tmp_path / "site", ledger, tmp_path / "out/history.sqlite", [tmp_path / "out/latest"])
    assert (tmp_path / "site/runs/20260302-1111/evidence/a/x.log").is_file()


def test_evidence_that_no_page_leads_to_any_more_is_removed(tmp_path, ledger):
    def kept(day, name):
        one = cell(evidence=name, run=f"2026030{day}-1111", started=START + day * DAY)
        folder = write_run(tmp_path / "out" / one.run, [one])
        (folder / name / "m1").mkdir(parents=True)
        (folder / name / "m1/x.log").write_text(name)
        record(tmp_path / "out/history.sqlite", [one])

    runs, elsewhere = tmp_path / "site/runs", tmp_path / "elsewhere"
    kept(1, "evidence/a/deep")
    for day in (2, 3):
        kept(day, f"evidence/{day}")
    publish_site(tmp_path / "site", ledger, tmp_path / "out/history.sqlite")
    assert len([one for one in runs.iterdir() if one.is_dir()]) == 3
    (elsewhere / "precious").mkdir(parents=True)
    (runs / "linked").symlink_to(elsewhere)
    (runs / "20260303-1111/evidence/.left.7").mkdir()
    kept(4, "evidence/4")
    publish_site(tmp_path / "site", ledger, tmp_path / "out/history.sqlite")
    assert sorted(path.relative_to(runs).as_posix() for path in runs.rglob("x.log")) == [
        f"2026030{day}-1111/evidence/{day}/m1/x.log" for day in (2, 3, 4)
    ]
    assert {path.name for path in runs.iterdir() if path.is_dir()} == {f"2026030{day}-1111" for day in (2, 3, 4)}
    assert {path.name for path in runs.glob("*.html")} == {f"2026030{day}-1111.html" for day in (1, 2, 3, 4)}
    assert not (runs / "20260303-1111/evidence/.left.7").exists()
    assert (elsewhere / "precious").is_dir()
    assert check_links(tmp_path / "site")
    # A folder that is elsewhere is not this site's to clear.
    (tmp_path / "site/runs").rename(elsewhere / "runs")
    (tmp_path / "site/runs").symlink_to(elsewhere / "runs")
    (elsewhere / "runs/other").mkdir()
    publish_site(tmp_path / "site", ledger, tmp_path / "out/history.sqlite")
    assert (elsewhere / "runs/other").is_dir()


def test_addresses_of_all_builds_and_issues_differ():
    assert len({build_page(f"{one.product}@{one.version}") for one in BUILDS}) == len(BUILDS)
    assert issue_page("a/b") != issue_page("a-b")
    assert issue_page("a/b") != issue_page("a b")
