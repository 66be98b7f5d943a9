"""The gate's result as JUnit XML, which every CI server shows: its verdicts, not pytest's outcomes."""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from clusterproof.reports.decide.gate import GateResult, Objection, Weight
from clusterproof.reports.results.answers import cell_in_words
from clusterproof.reports.results.kept_evidence import parameter
from clusterproof.reports.results.results import Cell
from clusterproof.reports.results.sanitize import plain
from clusterproof.reports.results.verdicts import Observation

# What XML 1.0 cannot carry, even escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def junit(result: GateResult) -> str:
    """Return the XML: a test case for each cell, and one for each result that is missing.

    What fails the gate is a failure, what blocks it an error; what is explained or tolerated, and
    what did not run, is skipped; a bug that was reproduced where it is known to be passes.
    """
    objections = {id(one.cell): one for one in result.objections}
    suite = ET.Element("testsuite", name=f"gate ({result.policy})")
    for cell in result.cells:
        case = ET.SubElement(
            suite,
            "testcase",
            classname=_clean(cell.scenario.partition("::")[0].removesuffix(".py").replace("/", ".")),
            name=_clean(f"{cell.scenario.rpartition('::')[2]}[{parameter(cell)}]"),
            time=f"{cell.seconds:.3f}",
        )
        objection = objections.get(id(cell))
        if objection:
            _add(case, objection)
        elif cell.observation is Observation.NOT_RUN:
            ET.SubElement(case, "skipped", message=_clean(cell.reason or cell.verdict))
    for problem in result.missing:
        case = ET.SubElement(suite, "testcase", classname="results", name="missing", time="0.000")
        ET.SubElement(case, "error", type="missing", message=_clean(problem))
    children = [child.tag for case in suite for child in case]
    suite.set("tests", str(len(suite)))
    for tag, key in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(key, str(children.count(tag)))
    suite.set("time", f"{sum(cell.seconds for cell in result.cells):.3f}")
    suites = ET.Element("testsuites")
    suites.append(suite)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=False) + "\n"


def _add(case: ET.Element, objection: Objection) -> None:
    words = cell_in_words(objection.cell)
    message = f"{words}: {objection.reason}" + (f" ({objection.why})" if objection.why else "")
    if not objection.weight.stops:
        ET.SubElement(case, "skipped", message=_clean(f"{objection.weight}: {message}"))
        return
    tag = "failure" if objection.weight is Weight.FAILS else "error"
    element = ET.SubElement(case, tag, type=objection.cell.verdict.value, message=_clean(message))
    element.text = _clean(_in_full(objection.cell))


def _in_full(cell: Cell) -> str:
    evidence = f"\nevidence: {cell.evidence}" if cell.evidence else ""
    return f"{cell.issue} on {cell.build.product} {cell.build.version}\n{cell.reason}{evidence}"


def _clean(text: str) -> str:
    return _NO_XML.sub("\ufffd", plain(text))
