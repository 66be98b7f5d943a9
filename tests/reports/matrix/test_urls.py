"""Addresses: safe in any file system and link, the same for the same thing, different for different ones."""

import re

from hypothesis import given
from hypothesis import strategies as st

from clusterproof.reports.matrix.urls import (
    build_page,
    cell_folder,
    cell_page,
    evidence_folder,
    issue_page,
    result_page,
)
from clusterproof.reports.results.results import Key
from tests.samples import INCUS_702, LXD_502, cell

TEXT = st.text(min_size=1)


@given(TEXT, TEXT)
def test_any_name_is_a_safe_address_and_its_own(one, other):
    for address in (issue_page, build_page, evidence_folder):
        assert re.fullmatch(r"(issues|builds|runs)/[A-Za-z0-9.+~_-]{1,120}", address(one), re.ASCII)
        assert address(one).partition("/")[2].strip(".")
        assert (address(one) == address(other)) is (one == other)


@given(st.builds(Key, *[TEXT] * 8))
def test_any_cell_has_a_safe_address(key):
    assert re.fullmatch(r"cells(/[A-Za-z0-9.+~_-]{1,120}){2}", cell_folder(key), re.ASCII)
    assert not {"", ".", ".."} & {*cell_folder(key).split("/")}


def test_addresses_are_readable():
    assert issue_page("lxd-15313") == "issues/lxd-15313.html"
    assert build_page("incus@7.0.2-3~bpo13+1") == "builds/incus-7.0.2-3~bpo13+1.html"
    key = cell(peer=LXD_502, substrate="vm").key
    folder = r"cells/lxd-15313/one_extension_less\.incus-7\.0\.2-3~bpo13\+1\.from-5\.0\.2-5\+deb12u6\.vm\.\w{8}"
    assert re.fullmatch(rf"{folder}/index\.html", cell_page(key))
    assert re.fullmatch(rf"{folder}/20260302-2104\.html", result_page(key, "20260302-2104"))


def test_cells_that_differ_in_anything_have_different_addresses():
    cells = [
        cell(),
        cell(role="workaround"),
        cell(issue="a"),
        cell(scenario="b::test_one_extension_less"),
        cell(build=LXD_502),
        cell(peer=INCUS_702),
        cell(peer=LXD_502),
        cell(substrate="vm"),
    ]
    assert len({cell_folder(one.key) for one in cells}) == len(cells)
