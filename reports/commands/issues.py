"""``clusterproof issues``: which documented issues there are, found by words."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from clusterproof.reports.commands.errors import refuse, refusing
from clusterproof.reports.results.find_issues import bounds, search
from clusterproof.reports.results.ledger import Issue, load_ledger


def issues(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]...", help="Only issues with all of these words.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
) -> None:
    """List documented issues: id, title, products and which versions have them.

    Words are looked for in titles, symptoms, workarounds and upstream's addresses.
    """
    with refusing():
        ledger = load_ledger()
    found = search(words or [], ledger)
    if as_json:
        typer.echo(json.dumps([_facts(one) for one in found], indent=1))
        return
    if not found:
        refuse(f'no issue has all of the words "{" ".join(words or [])}"; take fewer, or none to list all')
    for one in found:
        typer.echo(f"{one.id}  {one.title}")
        typer.echo(f"    {', '.join(bounds(one)) or 'a promise of ' + ' and '.join(one.products)}")
    typer.echo(f"{len(found)} of {len(ledger)} issues; run one: clusterproof qualify --issue {found[0].id}")


def _facts(issue: Issue) -> dict[str, object]:
    return {
        "id": issue.id,
        "title": issue.title,
        "kind": issue.kind,
        "products": list(issue.products),
        "bounds": bounds(issue),
        "symptom": " ".join(issue.symptom.words.split()),
        "workaround": issue.workaround,
        "upstream": list(issue.upstream),
    }
