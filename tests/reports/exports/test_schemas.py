"""The schemas fit what is really written, and refuse what the models refuse."""

from __future__ import annotations

import json
import tomllib

import pytest
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from clusterproof.reports.commands import app
from clusterproof.reports.exports.schemas import Document, schema
from clusterproof.reports.matrix.from_results import build_matrix
from clusterproof.reports.matrix.matrix import FORMAT
from clusterproof.reports.results.ledger import load_ledger
from tests.samples import sample_ledger, sample_run


def check(document: Document, instance: object) -> None:
    Draft202012Validator(schema(document)).validate(instance)


def wrong(document: Document, instance: object) -> str:
    with pytest.raises(ValidationError) as caught:
        check(document, instance)
    return caught.value.message


@pytest.fixture
def cells(tmp_path):
    return sample_run(sample_ledger(tmp_path))


@pytest.fixture
def line(cells) -> dict:
    return json.loads(cells[0].line())


@pytest.mark.parametrize("document", Document)
def test_it_is_a_schema_and_has_its_number(document):
    found = schema(document)
    Draft202012Validator.check_schema(found)
    assert found["$id"].rpartition(":")[2] == str(FORMAT if document is Document.MATRIX else 1)


def test_every_line_of_a_run_fits(cells):
    assert len(cells) > 10
    for cell in cells:
        check(Document.RESULTS, json.loads(cell.line()))


def test_a_line_of_before_a_field_was_added_fits(line):
    check(Document.RESULTS, {key: value for key, value in line.items() if key not in {"text", "lab", "parts"}})


def test_a_matrix_fits_as_it_is_written(tmp_path, cells):
    matrix = build_matrix(cells, sample_ledger(tmp_path))
    check(Document.MATRIX, json.loads(matrix.model_dump_json(by_alias=True)))


def test_every_entry_of_the_ledger_fits():
    entries = [issue.path for issue in load_ledger().values()]
    assert len(entries) > 40
    for path in entries:
        check(Document.LEDGER, tomllib.loads(path.read_text(encoding="utf-8")))


def test_what_is_missing_or_wrong_is_refused(line):
    assert "'verdict' is a required property" in wrong(
        Document.RESULTS, {key: value for key, value in line.items() if key != "verdict"}
    )
    assert "'perhaps'" in wrong(Document.RESULTS, line | {"verdict": "perhaps"})


def test_a_field_of_a_newer_version_is_none_of_an_older_reader_s_and_a_mistake_in_the_ledger(line):
    check(Document.RESULTS, line | {"colour": "red"})
    entry = tomllib.loads(next(iter(load_ledger().values())).path.read_text(encoding="utf-8"))
    assert "'colour'" in wrong(Document.LEDGER, entry | {"colour": "red"})


@pytest.mark.parametrize("document", Document)
def test_the_verb_prints_it(document):
    done = CliRunner().invoke(app, ["schema", document])
    assert done.exit_code == 0
    assert json.loads(done.stdout) == schema(document)
