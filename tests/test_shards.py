"""How shards are asked for, and how they agree on one cut though the history grows in between."""

from __future__ import annotations

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.shards import MOST, Cuts, Share, selection_id, share
from reports.plan import cut_id

ONE = (("a", "b"), ("c",))
OTHER = (("a",), ("b", "c"))


@given(st.integers(1, MOST), st.integers(1, MOST))
def test_a_share_is_one_of_so_many(index, count):
    if index <= count:
        assert share(f"{index}/{count}") == Share(index, count)
    else:
        with pytest.raises(argparse.ArgumentTypeError):
            share(f"{index}/{count}")


@pytest.mark.parametrize(
    "text", ["", "3", "3/", "/8", "0/8", "9/8", "-1/8", "1/0", "1/257", "a/b", "1/2/3", "1 /2"]
)
def test_what_is_no_share(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is no shard"):
        share(text)


def test_the_first_shard_decides_how_it_is_cut(tmp_path):
    assert Cuts(tmp_path).find("s") is None
    assert Cuts(tmp_path).agree("s", lambda: ONE) == ONE
    assert Cuts(tmp_path).agree("s", lambda: OTHER) == ONE
    assert Cuts(tmp_path).find("s") == ONE
    assert Cuts(tmp_path).agree("another selection", lambda: OTHER) == OTHER


def test_a_shard_that_runs_again_has_the_same_cells_until_all_have_run(tmp_path):
    cuts = Cuts(tmp_path)
    cuts.agree("s", lambda: ONE)
    cuts.finish(cut_id(ONE), 1)
    cuts.finish(cut_id(ONE), 1)
    assert cuts.agree("s", lambda: OTHER) == ONE
    cuts.finish(cut_id(ONE), 2)
    assert cuts.agree("s", lambda: OTHER) == OTHER


def test_a_cut_that_nobody_kept_can_be_finished(tmp_path):
    Cuts(tmp_path).agree("s", lambda: ONE)
    Cuts(tmp_path).finish(cut_id(OTHER), 1)
    assert Cuts(tmp_path).find("s") == ONE


def test_a_cut_that_cannot_be_read_is_made_anew(tmp_path):
    Cuts(tmp_path).agree("s", lambda: ONE)
    (file,) = (tmp_path / "cuts").glob("*.json")
    file.write_text('{"shares": [["a"')
    assert Cuts(tmp_path).agree("s", lambda: OTHER) == OTHER


def test_a_selection_is_its_cells_in_any_order_and_what_else_matters():
    assert selection_id(["a", "b"], 2) == selection_id(["b", "a"], 2)
    assert len({selection_id(["a", "b"], 2), selection_id(["a", "b"], 3), selection_id(["a"], 2)}) == 3


def test_a_cut_has_another_name_where_one_cell_is_elsewhere():
    assert cut_id(ONE) == cut_id((("b", "a"), ("c",)))
    assert cut_id(ONE) != cut_id(OTHER)
