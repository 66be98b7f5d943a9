"""docs/writing-scenarios.md names what there is: every call with its parameters, every fixture, every marker."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
import tomllib
from pathlib import Path

import pytest

import clusterproof
from clusterproof.builds import Range
from clusterproof.fixtures import ceph, clusters, collection, existing_cluster
from clusterproof.fixtures.conditions import CONDITIONS
from clusterproof.lab.builds.product import ProductFacts
from clusterproof.lab.cluster.daemon import Daemon
from clusterproof.lab.host.capabilities import CAPABILITIES
from clusterproof.reports.results.verdicts import ROLES

PAGE = (Path(__file__).parents[1] / "docs/writing-scenarios.md").read_text()
CLASSES = {
    "Cluster": clusterproof.Cluster,
    "Member": clusterproof.Member,
    "Daemon": Daemon,
    "Api": clusterproof.Api,
    "Ceph": clusterproof.Ceph,
    "Tenant": clusterproof.Tenant,
}
VARIABLES = {
    "cluster": clusterproof.Cluster,
    "unjoined": clusterproof.Cluster,
    "member": clusterproof.Member,
    "ceph": clusterproof.Ceph,
    "tenant": clusterproof.Tenant,
}


def section(heading: str) -> str:
    """Return the text below ``heading``."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the table below ``heading``, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def first_words(heading: str) -> list[str]:
    return [re.match(r"`(\w+)", row[0])[1] for row in rows(heading)]


CALLS = [(name, row[0].strip("`"), row[2].strip("`")) for name in CLASSES for row in rows(name)]


def attributes(found: type) -> set[str]:
    """Return the names of a class's members, those that its __init__ sets included."""
    source = ast.parse(textwrap.dedent(inspect.getsource(inspect.getattr_static(found, "__init__"))))
    assigned = {
        node.attr
        for node in ast.walk(source)
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    return assigned | set(dir(found))


def parameters(function) -> list[tuple[str, object]]:
    """Return the names of a function's parameters and their defaults."""
    return [(one.name, one.default) for one in inspect.signature(function).parameters.values()]


def shown_parameters(call: str) -> list[tuple[str, object]]:
    """Return the same of a call as the page writes it: ``form(members=None)``."""
    shown = call.partition("(")[2].removesuffix(")")
    return parameters(eval(f"lambda {shown}: None"))


@pytest.mark.parametrize(("name", "call", "example"), CALLS, ids=[f"{c[0]}-{c[1]}" for c in CALLS])
def test_every_call_is_as_the_class_has_it(name, call, example):
    called, is_call, _ = call.partition("(")
    assert called in attributes(CLASSES[name])
    if is_call:
        assert shown_parameters(call) == parameters(getattr(CLASSES[name], called))[1:]
    for node in ast.walk(ast.parse(example)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in VARIABLES:
            assert node.attr in attributes(VARIABLES[node.value.id])
    assert called in example


def test_every_fixture_is_one():
    known = {**vars(clusters), **vars(ceph), **vars(existing_cluster)}
    for name in first_words("Fixtures"):
        assert type(known[name]).__name__ == "FixtureFunctionDefinition", name
    assert {row[1].strip("`") for row in rows("Fixtures")} <= set(clusterproof.__all__)


def test_the_markers_are_all_there_are():
    known = [re.match(r"\w+", line)[0] for line in collection.MARKERS]
    assert sorted(first_words("Markers")) == sorted(known)
    values = [set(re.findall("`([^`]+)`", row[1])) for row in rows("Markers")]
    meanings = dict(zip(first_words("Markers"), values, strict=True))
    assert meanings["role"] == set(ROLES)
    assert meanings["requires"] == set(CAPABILITIES)
    assert {condition.partition(":")[0] for condition in meanings["applies_to"]} == set(CONDITIONS)


@pytest.mark.parametrize("name", clusterproof.__all__)
def test_every_name_that_can_be_imported_is_there(name):
    assert re.search(rf"\b{name}\b", PAGE)


def test_the_facts_are_the_products():
    named = set(re.findall(r"`(\w+)`", section("Member").partition("\n`facts` has")[2]))
    assert named
    assert named <= set(ProductFacts.model_fields)


@pytest.mark.parametrize("name", ["eventually", "refused"])
def test_the_functions_have_these_parameters(name):
    call = re.search(rf"`({name}\(.+?\))` returns", PAGE)[1]
    assert shown_parameters(call) == parameters(getattr(clusterproof, name))


def test_the_ranges_are_valid():
    (text,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert [Range.model_validate(entry) for entry in tomllib.loads(text)["ranges"]]


def test_the_example_compiles():
    for text in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        compile(text, "docs/writing-scenarios.md", "exec")
