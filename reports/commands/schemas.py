"""``clusterproof schema``: the shape of files, for programs that check or read them."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clusterproof.reports.exports.schemas import Document
from clusterproof.reports.exports.schemas import schema as schema_of


def schema(
    document: Annotated[
        Document,
        typer.Argument(help="A line of results.jsonl, matrix.json, or a ledger entry.", show_default=False),
    ],
) -> None:
    """Print the JSON schema of a file; its $id ends with the number of the format."""
    typer.echo(json.dumps(schema_of(document), indent=1))
