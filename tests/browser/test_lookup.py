"""The lookup says of every version what the ledger says, in whatever form it was pasted."""

from __future__ import annotations

import itertools

import pytest

from clusterproof.builds import Expectation, is_before, parse_version
from tests.samples import build, sample_ledger

VERSIONS = [
    "5.0.2", "5.0.2-5+deb12u6", "5.0.2+git20231211.1364ae4-9+deb13u7", "1:5.0.2-0", "5.0.10",
    "5.21.3-c5ae129", "6.0.2~rc1", "6.0.2", "7.0.2-3~bpo13+1", "7.0.2-3", "6",
    "5.0.2-5+deb12u6~1", "5.0a", "5.0.2.1", "0.9-1~exp2",
]  # fmt: skip


@pytest.fixture
def lookup(watched, site):
    return watched.open(site.pages["lookup"])


def asked(page, text):
    page.locator("#version").fill(text)
    return page.locator("#said").inner_text()


def found(page):
    return {
        row.locator(".id").inner_text(): row.locator(".pill").inner_text().split(maxsplit=1)[1]
        for row in page.locator(".found li").all()
    }


def test_versions_are_ordered_as_in_python(lookup):
    pairs = [list(pair) for pair in itertools.product(VERSIONS, repeat=2)]
    script = "(pairs) => pairs.map(([a, b]) => [Math.sign(compareVersions(a, b)), isBefore(a, b)])"
    for (one, other), (order, before) in zip(pairs, lookup.evaluate(script, pairs), strict=True):
        a, b = parse_version(one), parse_version(other)
        assert order == (a > b) - (a < b), (one, other)
        assert before == is_before(one, other), (one, other)


def test_a_version_that_was_never_run_is_told_by_what_is_documented(lookup, tmp_path):
    """D5: of each issue the answer is what the ledger expects."""
    ledger = sample_ledger(tmp_path)
    words = {
        Expectation.AFFECTED: "has the bug",
        Expectation.FIXED: "free of it",
        Expectation.NOT_AFFECTED: "free of it",
        Expectation.UNKNOWN: "not known",
    }
    for product, version, track in (
        ("incus", "6.0.1", "6.0"), ("incus", "6.0.3", "6.0"), ("incus", "7.0.9", "7.0"),
        ("incus", "6.9", "feature"), ("lxd", "5.0.1", "5.0"), ("lxd", "5.21.3-c5ae129", "5.21"),
        ("lxd", "4.0.9", "4.0"),
    ):  # fmt: skip
        said = asked(lookup, f"{product} {version}")
        assert "This version was not tested" in said
        one = build(f"{product}@{version}", version, track)
        expected = {
            issue.id: issue.expects(one) for issue in ledger.values() if product in issue.products
        }
        assert found(lookup) == {issue: words[what] for issue, what in expected.items()}, version


@pytest.mark.parametrize(
    ("pasted", "understood"),
    [
        ("5.0.2-5+deb12u6", "LXD 5.0.2-5+deb12u6 (series 5.0)"),
        ("incus 6.0.1", "Incus 6.0.1 (series 6.0)"),
        ("lxd@5.0.2", "LXD 5.0.2 (series 5.0)"),
        (
            "ii  incus  1:6.0.4-2+deb13u10  amd64  Powerful system container manager",
            "Incus 1:6.0.4-2+deb13u10 (series 6.0)",
        ),
        ("lxd  5.21.3-c5ae129  33110  5.21/stable  canonical✓", "LXD 5.21.3-c5ae129"),
        ("Client version: 6.0.4\nServer version: 6.0.1\nincus", "Incus 6.0.1 (series 6.0)"),
        ("Incus 7.9", "Incus 7.9 (feature releases)"),
    ],
)
def test_a_version_is_understood_as_it_is_pasted(lookup, pasted, understood):
    assert asked(lookup, pasted).startswith(understood)


def test_a_build_that_was_tested_is_told_by_its_results(lookup):
    said = asked(lookup, "incus 7.5.1")
    assert "This build was tested" in said
    assert found(lookup)["lxd-15218"] == "fails otherwise"
    by_runs = lookup.locator(".found li", has_text="Seen by a run on this build.").count()
    assert f"{by_runs} answers are its runs', the others what is documented." in said
    lookup.locator(".found li", has_text="lxd-15218").locator("a.cell").click()
    assert "fails otherwise" in lookup.locator(".ruling").inner_text()


def test_the_way_out_and_the_nearest_build_are_named(lookup):
    asked(lookup, "lxd 5.0.1")
    row = lookup.locator(".found li", has_text="lxd-15313")
    assert "Way out: Stop all members" in row.inner_text()
    assert "✓ verified on LXD 5.0.2" in row.inner_text()
    assert "Nearest tested: LXD 5.0.2, has the bug." in row.inner_text()


def test_the_address_keeps_the_version(watched, site):
    page = watched.open(site.pages["lookup"].as_uri() + "#lxd@5.0.2-5+deb12u6")
    assert page.locator("#said").inner_text().startswith("LXD 5.0.2-5+deb12u6")
    page.locator("#version").fill("6.0.1")
    page.locator("#product").select_option("incus")
    again = watched.open(page.evaluate("location.href"))
    assert again.locator("#said").inner_text().startswith("Incus 6.0.1 (series 6.0)")


@pytest.mark.parametrize("text", ["nonsense", "<script>alert(1)</script>", "9", "%zz", "6.0.4"])
def test_what_is_no_version_of_a_known_product_is_said(lookup, text):
    said = asked(lookup, text)
    assert said.startswith(("There is no version in that.", "Is ", "Incus 6.0.4"))
