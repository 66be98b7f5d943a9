"""The filters of the front page: what they show, and that the address keeps them."""

from __future__ import annotations

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
    assert heads.all_inner_texts() == ["LXD", "track 5.0"]
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
    choose(page, "Substrate", "vm")
    assert titles(page) == {"lxd-15313"}
    assert page.locator(".on-build:visible").count() == 1
    assert page.locator(".on-build:visible .flag", has_text="vm").count() == 1


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
    page.locator("#more summary").click()
    choose(page, "Verdict", "failed")
    assert titles(page) == {"lxd-15218"}
    assert overflow(page) <= 0
    assert violations(page) == []


def test_what_the_front_page_tells_leads_to_its_filter(watched, site):
    page = watched.open(site.pages["matrix"])
    page.locator("a", has_text="Show only these").click()
    assert address(page) == "#marks=unexpected"
    assert page.locator("#filters input[value=unexpected]").is_checked()
