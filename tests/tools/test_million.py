from itertools import islice

from clusterproof.reports.history.history import History
from tools.bench.million import ask, cells, make, make_site


def test_the_seed_decides_everything_but_the_number(tmp_path):
    few = list(cells(200))
    assert list(islice(cells(10**6), 200)) == few
    assert list(cells(200, seed=1)) != few
    make(tmp_path / "h", 200)
    with History(tmp_path / "h") as history:
        assert sorted(history.lines()) == sorted(cell.line() for cell in few)


def test_every_question_is_asked(tmp_path):
    make(tmp_path / "h", 200)
    answers = {question: answer for question, seconds, answer in ask(tmp_path / "h") if seconds >= 0}
    assert answers["how many runs and results"] == "200 results of 1 runs"
    assert len(answers) == 6


def test_a_site_is_made_of_it(tmp_path):
    make(tmp_path / "h", 200)
    answers = {what: answer for what, seconds, answer in make_site(tmp_path / "h", tmp_path / "site")}
    assert answers["the matrix"] == "3 issues on 30 builds"
    assert answers["the whole site"].startswith("438 pages, ")
