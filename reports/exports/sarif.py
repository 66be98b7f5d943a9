"""What the gate finds as SARIF 2.1.0, which code scanning (GitHub's, for one) keeps and compares."""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from clusterproof.reports.decide.gate import Finding, GateResult, Weight
from clusterproof.reports.results.ledger import Issue
from clusterproof.reports.results.sanitize import plain

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {
    Weight.FAILS: "error",
    Weight.BLOCKS: "warning",
    Weight.EXPLAINED: "note",
    Weight.TOLERATED: "note",
}


def sarif(result: GateResult, ledger: Mapping[str, Issue], root: Path) -> str:
    """Return the log: a rule for each documented issue, a result for each finding.

    Results lead to the scenario in the checkout ``root``. What is explained is a suppressed result
    with its explanation; what makes two results the same is the cell, so that a finding stays one
    from run to run.
    """
    issues = sorted({one.cell.issue for one in result.findings})
    driver = {"name": "clusterproof", "rules": [_rule(issue, ledger.get(issue)) for issue in issues]}
    run = {
        "tool": {"driver": driver},
        "columnKind": "unicodeCodePoints",
        "results": [_result(one, issues.index(one.cell.issue), root) for one in result.findings],
        "invocations": [
            {
                "executionSuccessful": not result.missing,
                "exitCode": result.exit_code,
                "toolExecutionNotifications": [
                    {"level": "error", "message": {"text": plain(problem)}} for problem in result.missing
                ]
                + [{"level": "note", "message": {"text": plain(note)}} for note in result.notes],
            }
        ],
        "automationDetails": {"id": f"clusterproof/{result.policy}/"},
    }
    log = {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}
    return json.dumps(log, ensure_ascii=False, indent=1) + "\n"


def _rule(name: str, issue: Issue | None) -> dict[str, Any]:
    if issue is None:
        return {"id": name, "shortDescription": {"text": f"{name} (not in the ledger)"}}
    rule = {
        "id": name,
        "shortDescription": {"text": plain(issue.title)},
        "fullDescription": {"text": plain(issue.symptom.words)},
        "helpUri": issue.upstream[0],
        "properties": {"tags": [issue.area, issue.kind]},
    }
    if issue.workaround:
        rule["help"] = {"text": f"Workaround: {plain(issue.workaround)}"}
    return rule


def _result(finding: Finding, rule: int, root: Path) -> dict[str, Any]:
    cell = finding.cell
    path, _, test = cell.scenario.partition("::")
    why = f" ({finding.why})" if finding.why else ""
    result: dict[str, Any] = {
        "ruleId": cell.issue,
        "ruleIndex": rule,
        "level": _LEVELS[finding.weight],
        "message": {"text": plain(f"{cell.verdict} on {finding.build}: {finding.reason}{why}")},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": path},
                    "region": {"startLine": _line(root / path, test)},
                }
            }
        ],
        "partialFingerprints": {"cell/v1": hashlib.sha256("\0".join(cell.key).encode()).hexdigest()},
        "properties": {"verdict": cell.verdict, "run": cell.run, "evidence": cell.evidence},
    }
    if finding.weight is Weight.EXPLAINED:
        result["suppressions"] = [{"kind": "external", "justification": plain(finding.why)}]
    return result


@cache
def _line(path: Path, test: str) -> int:
    """Return the line on which ``test`` begins in ``path``; the first one where it is not there (any more)."""
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return 1
    found = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef) and one.name == test]
    return found[0].lineno if found else 1
