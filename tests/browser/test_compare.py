"""The comparison in the browser says what the command line says, for every two builds."""

from __future__ import annotations

import itertools
import json

from tests.browser.samples import overflow, violations
from tests.samples import BUILDS


def shown(page):
    return [
        (row.locator("td").first.inner_text(), row.locator(".id").inner_text())
        for row in page.locator("#rows tr").all()
    ]


def chosen(page):
    return page.evaluate("[document.getElementById('from').value, document.getElementById('to').value]")


def test_every_pair_is_compared_as_in_python(watched, site):
    from clusterproof.reports.decide.diff import compare, find_build  # noqa: PLC0415
    from clusterproof.reports.matrix.matrix import Matrix  # noqa: PLC0415

    matrix = Matrix.model_validate_json((site.out / "matrix.json").read_text())
    page = watched.open(site.pages["compare"])
    for before, after in itertools.permutations([f"{one.product}@{one.version}" for one in BUILDS], 2):
        page.locator("#from").select_option(before)
        page.locator("#to").select_option(after)
        expected = compare(matrix, find_build(matrix, before), find_build(matrix, after))
        assert sorted(shown(page)) == sorted((one.change.value, one.issue) for one in expected.issues)
        words = [word for word, _ in shown(page)]
        assert words == [one.change.value for one in expected.issues]
        counts = ", ".join(f"{count} {kind}" for kind, count in expected.summary.items())
        assert page.locator("#summary").inner_text() == counts


def test_the_address_keeps_the_pair(watched, site):
    page = watched.open(site.pages["compare"])
    page.locator("#from").select_option("incus@6.0.4-2+deb13u10")
    page.locator("#to").select_option("incus@7.0.2-3~bpo13+1")
    page.locator("#only").check()
    pair, rows = chosen(page), shown(page)
    again = watched.open(page.evaluate("location.href"))
    assert (chosen(again), shown(again)) == (pair, rows)
    assert again.locator("#only").is_checked()
    again.locator("#swap").click()
    assert chosen(again) == pair[::-1]
    again.reload()
    assert chosen(again) == pair[::-1]


def test_a_build_page_leads_to_its_comparison(watched, site):
    page = watched.open(site.out / "builds/incus-7.0.2-3~bpo13+1.html")
    page.locator("a", has_text="Compare the two").click()
    assert chosen(page) == ["incus@6.0.4-2+deb13u10", "incus@7.0.2-3~bpo13+1"]
    page.locator("#page-to a").click()
    assert page.locator("h1").inner_text() == "Incus 7.0.2"


def test_a_build_and_itself_differ_in_nothing(watched, site):
    page = watched.open(site.pages["compare"])
    page.locator("#from").select_option(page.locator("#to").input_value())
    page.locator("#only").check()
    assert page.locator("#nothing").is_visible()


def test_an_unknown_pair_in_the_address_is_borne(watched, site):
    page = watched.open(site.pages["compare"].as_uri() + "#from=gone&to=%zz&only=x")
    assert "No results of gone, %zz." in page.locator("#absent").inner_text()
    assert page.locator("#rows tr").count() == 0
    assert page.locator("#from option:checked").count() == 1


def test_the_command_is_the_one_that_says_the_same(watched, site, monkeypatch):
    from typer.testing import CliRunner  # noqa: PLC0415

    from clusterproof.reports.commands import app  # noqa: PLC0415

    page = watched.open(site.pages["compare"])
    program, *words = page.locator("#command").inner_text().split()
    assert program == "clusterproof"
    monkeypatch.chdir(site.out.parents[1])
    result = CliRunner().invoke(app, [*words, "--json"])
    data = json.loads(result.stdout)
    assert [(one["change"], one["issue"]) for one in data["issues"]] == shown(page)


def test_a_page_that_stands_alone(watched, site, monkeypatch):
    from typer.testing import CliRunner  # noqa: PLC0415

    from clusterproof.reports.commands import app  # noqa: PLC0415

    monkeypatch.chdir(site.out.parents[1])
    CliRunner().invoke(app, ["diff", "incus@6.0.4", "incus@7.0.2", "--page", "alone.html"])
    page = watched.open(site.out.parents[1] / "alone.html", width=360)
    assert chosen(page) == ["incus@6.0.4-2+deb13u10", "incus@7.0.2-3~bpo13+1"]
    assert page.locator("main a").count() == 0
    assert overflow(page) <= 0
    assert violations(page) == []


def test_a_build_without_results_is_named_and_the_nearest_offered(watched, site):
    """B3: an address never shows another comparison than it asks for without a word."""
    page = watched.open(site.pages["compare"].as_uri() + "#from=lxd%405.21.3&to=nope")
    said = page.locator("#absent").inner_text()
    assert "No results of lxd@5.21.3, nope." in said
    page.locator("#absent a").first.click()
    assert not page.locator("#absent").is_visible()
    assert all(one in page.url for one in ("from=", "to="))
    assert page.locator("#rows tr").count() > 0


def test_a_first_build_that_failed_otherwise_makes_the_second_no_worse(watched, site):
    """B4: failed, then reproduced: the first may have had it, too."""
    page = watched.open(site.pages["compare"])
    page.locator("#from").select_option("incus@7.5.1-1~exp2")
    page.locator("#to").select_option("lxd@5.0.2+git20231211.1364ae4-9+deb13u7")
    row = page.locator("#rows tr", has_text="lxd-15218")
    assert row.locator(".change").inner_text() == "unclear"
    assert "worse" not in row.locator(".change").get_attribute("class")


def test_products_can_be_compared_at_once(watched, site):
    """D8: what changes for who goes from the newest LXD to the newest Incus."""
    page = watched.open(site.pages["compare"])
    page.locator("a", has_text="Incus 7.5.1").click()
    assert chosen(page) == ["lxd@5.0.2+git20231211.1364ae4-9+deb13u7", "incus@7.5.1-1~exp2"]
