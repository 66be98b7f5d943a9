"""The filters of the front page: what they show, and that the address keeps them."""

from __future__ import annotations

import re

import pytest

from tests.browser.samples import overflow, violations

ALL = 4 + 14


def rows(page):
    return page.locator("tr.issue:visible")


def address(page):
    return page.evaluate("location.hash")


def titles(page):
    return {text.split("\n")[0] for text in page.locator("tr.issue:visible .id").all_inner_texts()}


def choose(page, legend, word):
    page.evaluate("document.getElementById('more').open = true")
    group = page.locator("#filters fieldset", has=page.locator("legend", has_text=legend))
    group.locator("label", has_text=word).first.click()


def test_everything_is_shown_at_first(page):
    assert rows(page).count() == ALL
    assert page.locator("#shown").inner_text() == ""
    assert not page.locator("#reset").is_visible()
    assert not address(page)


def test_text_is_found_in_titles_numbers_and_areas(page):
    find = page.locator("#text")
    for words, found in (
        ("downgrade", {"lxd-15313"}),
        ("LXD-11534", {"lxd-11534"}),
        ("cluster upgrade", {"lxd-15313", "rolling-upgrade"}),
        ("evacuation", {"lxd-15218"}),
        ("one-sided", titles(page) & {*page.locator("tr.issue[data-onesided] .id").all_inner_texts()}),
    ):
        find.fill(words)
        assert titles(page) == found, words
    assert address(page) == "#text=one-sided"


def test_what_is_not_there_is_said(page):
    page.locator("#text").fill("no such thing")
    assert rows(page).count() == 0
    assert page.locator("#nothing").is_visible()
    assert page.locator("#shown").inner_text() == f"0 of {ALL} issues"
    page.locator("#reset").click()
    assert rows(page).count() == ALL
    assert address(page) in ("", "#")
    assert page.evaluate("document.activeElement.id") == "text"


def test_a_product_hides_the_others_columns(page):
    choose(page, "Product", "LXD")
    assert page.locator("th.build:visible").count() == 2
    heads = page.locator("thead th[data-span]:visible")
    assert heads.all_inner_texts() == ["LXD", "series 5.0"]
    assert [one.get_attribute("colspan") for one in heads.all()] == ["2", "2"]
    assert page.locator("td[data-product=incus]:visible").count() == 0
    assert address(page) == "#product=lxd"


def test_choices_of_one_kind_add_up_and_of_two_kinds_narrow(page):
    choose(page, "Verdict", "reproduced")
    reproduced = titles(page)
    choose(page, "Verdict", "silently-fixed")
    both = titles(page)
    assert reproduced < both or reproduced == both
    choose(page, "Area", "upgrade")
    assert titles(page) == {one for one in both if one in {"lxd-15313", "rolling-upgrade"}}
    assert "verdict=silently-fixed,reproduced" in address(page)
    assert "area=upgrade" in address(page)


def test_verdicts_of_hidden_builds_do_not_count(page):
    choose(page, "Verdict", "discovered")
    assert titles(page) == {"rolling-upgrade"}
    choose(page, "Product", "LXD")
    assert titles(page) == set()


def test_substrates(page):
    choose(page, "Runs in", "vm")
    assert titles(page) == {"lxd-15313"}
    assert page.locator(".on-build:visible").count() == 1
    assert page.locator("td:visible .on-build:visible + .flags .flag", has_text="vm").count() == 1


def test_marks(page):
    choose(page, "Marks", "changed")
    assert titles(page) == {"lxd-15218"}
    page.locator("#reset").click()
    choose(page, "Marks", "stale")
    assert titles(page) == {"lxd-15313"}
    page.locator("#reset").click()
    choose(page, "Marks", "one-sided")
    assert titles(page) == {*page.locator("tr.issue[data-onesided] .id").all_inner_texts()}
    assert titles(page)


def test_only_the_newest_build_of_each_track(page):
    choose(page, "Builds", "newest")
    builds = page.locator("th.build:visible > a").all_inner_texts()
    assert [one.split()[-1] for one in builds] == ["6.0.4", "7.0.2", "7.5.1", "5.0.2+git20231211"]


def test_the_address_brings_it_all_back(page, watched):
    choose(page, "Product", "Incus")
    choose(page, "Verdict", "conforms")
    page.locator("#text").fill("cluster & café +1")
    page.locator("#text").fill("cluster")
    found, kept = titles(page), page.evaluate("location.href")
    page.reload()
    assert titles(page) == found
    again = watched.open(kept)
    assert titles(again) == found
    assert again.locator("#text").input_value() == "cluster"
    assert again.locator("input:checked").count() == 2
    again.evaluate("location.hash = 'area=membership'")
    assert titles(again) == {"lxd-11534"}
    assert again.locator("#text").input_value() == ""


@pytest.mark.parametrize(
    "address", ["#product=%zz", "#verdict=", "#nonsense=1&&=", "#content", "#text=%3Cscript%3E"]
)
def test_any_address_is_borne(watched, site, address):
    page = watched.open(site.out.joinpath("index.html").as_uri() + address)
    assert page.locator("th.build:visible").count() == 5


def test_groups_without_rows_are_gone(page):
    choose(page, "Area", "membership")
    assert page.locator("tbody.area:visible .band").all_inner_texts() == ["MEMBERSHIP"]


def test_filters_work_with_the_keyboard(page):
    page.locator("#text").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert address(page) == "#product=incus"
    page.keyboard.press("Space")
    assert rows(page).count() == ALL


def test_on_a_phone_filters_open_on_demand(watched, site):
    page = watched.open(site.pages["matrix"], width=360)
    assert not page.locator("label", has_text="upgrade").is_visible()
    page.locator("#build").select_option("incus@7.5.1-1~exp2")
    page.locator("#more summary").click()
    choose(page, "Verdict", "failed")
    assert titles(page) == {"lxd-15218"}
    assert overflow(page) <= 0
    assert violations(page) == []


def test_every_count_is_that_of_the_cells_it_finds(page):
    """B5: what a filter announces is what it shows."""
    page.evaluate("document.getElementById('more').open = true")
    for label in page.locator("#more fieldset", has_text="Verdict").locator("label.with").all():
        verdict = label.locator("input").get_attribute("value")
        cells = page.locator(f'tr.issue .on-build[data-verdict="{verdict}"]')
        assert int(label.locator("b").inner_text()) == cells.count(), verdict


def test_skipping_leaves_the_filters_alone(watched, site):
    """B2: the link to the content and the one to the matrix change neither address nor filters."""
    page = watched.open(site.pages["matrix"].as_uri() + "#product=lxd")
    found = titles(page)
    for link, place in (("Skip to the content", "content"), ("Skip to the matrix", "matrix")):
        page.locator("a.skip", has_text=link).focus()
        page.keyboard.press("Enter")
        assert page.evaluate("document.activeElement.id") == place
        assert (address(page), titles(page)) == ("#product=lxd", found)
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('table.matrix') !== null")
    page.evaluate("location.hash = 'runs'")
    assert titles(page) == found


def test_back_undoes_a_choice_and_what_was_typed_at_once(page):
    """B12: each choice is a step of the way back; a word that is typed is one, too."""
    choose(page, "Product", "LXD")
    page.locator("#text").press_sequentially("down")
    assert address(page) == "#product=lxd&text=down"
    page.go_back()
    assert address(page) == "#product=lxd"
    assert page.locator("#text").input_value() == ""
    page.go_back()
    assert page.locator("#filters input:checked").count() == 0
    assert rows(page).count() == ALL
    page.go_forward()
    assert page.locator("th.build:visible").count() == 2


def test_everything_is_drawn_also_below_the_window(page):
    """B12: a picture of the whole page has no blank cells."""
    skipped = "(one) => !one.checkVisibility({contentVisibilityAuto: true})"
    assert page.evaluate(f"[...document.querySelectorAll('.on-build')].filter({skipped}).length") == 0


def test_symptoms_ways_out_reports_and_versions_are_found(page):
    """B11: what a person has at hand, and the slash as the way to the field."""
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "text"
    find = page.locator("#text")
    for words, found in (
        ("heartbeat as lost", {"lxd-15313"}),
        ("action=skip", {"lxd-15218"}),
        ("lxc/incus/issues/999", {"lxd-15313"}),
        ("5.0.2-5", {"lxd-15313", "lxd-11534"}),
    ):
        find.fill(words)
        assert titles(page) == found, words


def test_a_cell_does_not_read_as_half_broken(page):
    """B6: no fraction of scenarios; the way out is named where it was verified."""
    texts = page.locator("tr.issue td").all_inner_texts()
    assert not [text for text in texts if re.search(r"\d of \d", text)]
    row = page.locator("tr.issue", has_text="lxd-15313")
    assert row.locator("td", has_text="has the bug").first.locator(".tick").inner_text() == "✓ way out works"


def test_the_news_lead_to_the_result_that_is_meant(page):
    """B7: one click from the front page, news opened, to the page of the very result."""
    news = page.locator("#unexpected")
    news.locator("summary").first.click()
    link = news.locator("li", has_text="Incus 7.5.1").locator("a.cell", has_text="failed").first
    link.click()
    assert "fails otherwise" in page.locator(".ruling").inner_text()
    assert page.locator("h1").inner_text().startswith("One instance that cannot start keeps its member")


def test_arrows_go_from_cell_to_cell_and_the_head_follows(page):
    first = page.locator("tr.issue td a.on-build").first
    first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    focused = page.evaluate("document.activeElement.closest('td').dataset.id")
    assert page.locator("th.build.lit").get_attribute("data-id") == focused == "incus@7.0.2-3~bpo13+1"
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowLeft")
    assert first.evaluate("(one) => one === document.activeElement")


def test_totals_are_the_sums_of_their_columns(page):
    for total in page.locator("tr.totals td").all():
        build = total.get_attribute("data-id")
        cells = page.locator(f'tr.issue td[data-id="{build}"]')
        having = cells.filter(has=page.locator(".words", has_text="has the bug")).count()
        wrong = cells.filter(has=page.locator('[data-marks*="unexpected"]')).count()
        assert total.locator("b").inner_text() == str(having)
        assert total.locator(".off").count() == (wrong > 0)
        if wrong:
            assert total.locator(".off").inner_text().startswith(f"▲{wrong}")
        assert total.locator("a").get_attribute("href").startswith("builds/")


def test_what_differs_between_the_products_can_be_filtered(page):
    choose(page, "Marks", "LXD and Incus differ")
    assert titles(page) == {*page.locator("tr.issue[data-differ] .id").all_inner_texts()}
    assert "lxd-15313" in titles(page)
    page.locator("tr.issue", has_text="lxd-15313").locator("th a").click()
    assert "LXD and Incus differ:" in page.locator(".differs").inner_text()
    page.locator(".differs a").click()
    assert page.locator("#from").input_value().startswith("lxd@")
    assert page.locator("#to").input_value().startswith("incus@")


def test_the_view_stands_in_the_address(page, watched):
    page.locator("#compact").check()
    assert address(page) == "#view=compact"
    again = watched.open(page.evaluate("location.href"))
    assert again.locator("table.matrix.compact").count() == 1
    assert again.locator(".on-build").first.bounding_box()["width"] < 30


def test_on_a_phone_one_build_is_chosen_and_its_issues_are_rows(watched, site):
    """D10: as many pills as issues, the choice in the address."""
    page = watched.open(site.pages["matrix"], width=360)
    assert page.locator("tr.issue .on-build:visible").count() == ALL
    page.locator("#build").select_option("lxd@5.0.2-5+deb12u6")
    assert address(page) == "#build=lxd@5.0.2-5%2Bdeb12u6"
    again = watched.open(page.evaluate("location.href"), width=360)
    assert again.locator("#build").input_value() == "lxd@5.0.2-5+deb12u6"
    assert again.locator("tr.issue .on-build:visible").count() == ALL
    assert again.evaluate("document.documentElement.scrollHeight") < page.evaluate("innerHeight") * 4


def test_on_a_phone_another_product_brings_a_build_of_its_own(watched, site):
    """A build of LXD is chosen at first: Incus alone must not leave nothing to see."""
    page = watched.open(site.pages["matrix"], width=360)
    assert page.locator("#build").input_value().startswith("lxd@")
    choose(page, "Product", "Incus")
    assert page.locator("#build").input_value() == "incus@7.5.1-1~exp2"
    assert rows(page).count() == ALL
    again = watched.open(site.pages["matrix"].as_uri() + "#product=incus", width=360)
    assert rows(again).count() == ALL


def test_on_a_phone_titles_have_room_beside_what_a_cell_says(watched, site):
    page = watched.open(site.pages["matrix"], width=360)
    for build in page.locator("#build option").evaluate_all("(all) => all.slice(1).map((one) => one.value)"):
        page.locator("#build").select_option(build)
        for title in page.locator("tr.issue:visible > th").all():
            assert title.bounding_box()["width"] > 110, build


def test_heads_of_builds_stay_in_their_columns(watched, site):
    """Beside the titles only the corner stays where it is when the matrix is moved sideways."""
    page = watched.open(site.pages["matrix"], width=760)
    page.locator("#matrix").evaluate("(one) => one.scrollTo(9999, 0)")
    assert page.locator("#matrix").evaluate("(one) => one.scrollLeft") > 0
    for head, cell in zip(
        page.locator("th.build").all(), page.locator("tr.totals td").all(), strict=True
    ):
        assert head.bounding_box()["x"] == cell.bounding_box()["x"]
