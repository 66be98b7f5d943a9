"""The verbs of ``clusterproof`` that read results: of a run, of a history, of many runs."""

from __future__ import annotations

import typer

from clusterproof.reports.commands.histories import export, join, merge, stability
from clusterproof.reports.commands.issues import issues
from clusterproof.reports.commands.judging import gate
from clusterproof.reports.commands.pages import diff, matrix, site
from clusterproof.reports.commands.proving import prove
from clusterproof.reports.commands.schemas import schema

app = typer.Typer(no_args_is_help=True, add_completion=False, help="What the results of a run say.")

for verb in (matrix, site, diff, issues, gate, merge, join, export, stability, prove, schema):
    app.command()(verb)
