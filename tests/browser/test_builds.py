"""The page of a build: may it ship, and what is not known."""

from __future__ import annotations

import xml.etree.ElementTree as ET


def test_the_answer_is_on_the_first_screen_and_prints_its_zeros(watched, site):
    """D3: the answer, five sums, the gate's sentence."""
    page = watched.open(site.out / "builds/incus-7.0.2-3~bpo13+1.html", height=800)
    card = page.locator(".ship")
    assert card.bounding_box()["y"] + card.bounding_box()["height"] < 800
    assert card.locator(".says").inner_text().split(maxsplit=1)[1] == "No"
    sums = [" ".join(one.inner_text().split()) for one in card.locator(".sums li").all()]
    assert sums[0] == "1 not as documented"
    assert sums[2] == "0 fixed since"
    assert "The gate under the policy “expected”: not passed" in card.inner_text()


def test_the_sums_lead_to_what_they_count(watched, site):
    page = watched.open(site.pages["build"])
    for link in page.locator(".sums a").all():
        target = link.get_attribute("href")
        assert page.locator(target).count() == 1
        count = link.locator("b").inner_text()
        heading = page.locator(f"h2{target} small")
        if heading.count() and count.isdigit():
            assert heading.inner_text() == count, target


def test_what_fails_comes_before_known_bugs(watched, site):
    """B7: not as documented first, then worse, then the known bugs."""
    page = watched.open(site.out / "builds/incus-7.5.1-1~exp2.html")
    assert page.locator("main h2").all_inner_texts()[1].startswith("Not as documented")
    page.locator("#unexpected + .bugs a.cell", has_text="failed").first.click()
    assert "fails otherwise" in page.locator(".ruling").inner_text()


def test_a_way_out_says_where_it_was_verified(watched, site):
    """D4: on the page of the build, and in short on that of the issue."""
    page = watched.open(site.pages["build"])
    entry = page.locator(".bugs li", has_text="Downgrade inside an LTS channel")
    assert "✓ verified on this build" in entry.inner_text()
    entry.locator("h3 a").last.click()
    short = page.locator(".short")
    assert "✓ verified on LXD 5.0.2" in short.inner_text()
    assert "Incus 6.0.2" in short.locator("dd").nth(1).inner_text()
    assert short.bounding_box()["y"] < 500


def test_the_badge_is_a_picture_of_the_answer(watched, site):
    page = watched.open(site.pages["build"])
    page.locator(".badge-line").click()
    assert "](SITE/badges/lxd-5.0.2-5+deb12u6.svg)" in page.locator("#badge").inner_text()
    svg = ET.parse(site.out / "badges/lxd-5.0.2-5+deb12u6.svg").getroot()
    assert "clusterproof" in svg.get("aria-label")
