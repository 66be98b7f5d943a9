"""JSON schemas of what other programs read and write: results, matrices, ledger entries."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic.json_schema import JsonSchemaMode

from clusterproof.reports.matrix.matrix import FORMAT, Matrix
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.results import Cell

DIALECT = "https://json-schema.org/draft/2020-12/schema"


class Document(StrEnum):
    """What there is a schema of: a line of results.jsonl, matrix.json, an entry of the ledger."""

    RESULTS = "results"
    MATRIX = "matrix"
    LEDGER = "ledger"


# The number goes up where what was valid is no longer, or a reader of the old one would misread the new.
_OF: dict[Document, tuple[type[Cell | Matrix | Issue], JsonSchemaMode, int]] = {
    # What is read of earlier versions lacks what has a default, so that nothing of it is required.
    Document.RESULTS: (Cell, "validation", 1),
    Document.MATRIX: (Matrix, "serialization", FORMAT),
    Document.LEDGER: (Issue, "validation", 1),
}


def schema(document: Document) -> dict[str, Any]:
    """Return the JSON schema of ``document``; its ``$id`` ends with the number of the format."""
    model, mode, number = _OF[document]
    found = {
        "$schema": DIALECT,
        "$id": f"urn:clusterproof:{document}:{number}",
        **model.model_json_schema(by_alias=True, mode=mode),
    }
    if document is not Document.LEDGER:
        # A newer clusterproof may write fields that this one does not know.
        for part in (found, *found.get("$defs", {}).values()):
            part.pop("additionalProperties", None)
    return found
