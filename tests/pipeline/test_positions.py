"""Positions once tokens are dropped: kept, renumbered, compacted, against layouts written out by hand."""

from __future__ import annotations

import torch

from vtprune_eval.methods.base import TokenLayout
from vtprune_eval.pipeline.positions import placed


def layout(grids=((2, 3),), head=2, tail=2) -> TokenLayout:
    """``head`` text tokens, images of ``grids`` with a text token behind each, ``tail`` text tokens; class order."""
    columns, spans, at = [[i] * 3 for i in range(head)], [], head
    for rows, cols in grids:
        spans.append((len(columns), len(columns) + rows * cols))
        columns += [[at, at + r, at + c] for r in range(rows) for c in range(cols)]
        at += max(rows, cols)
        columns.append([at] * 3)
        at += 1
    columns += [[at + i] * 3 for i in range(tail)]
    return TokenLayout(tuple(grids), tuple(spans), len(columns), 2, 16, torch.tensor(columns).T, ())


def test_kept_positions_are_cut_with_the_mask():
    whole = layout()
    index = torch.tensor([0, 1, 3, 7, 8, 9, 10])
    positions, following = placed(whole, index, "kept")
    assert torch.equal(positions, whole.positions[:, index])
    assert following == int(whole.positions.max()) + 1


def test_renumbered_positions_run_on_as_text():
    positions, following = placed(layout(), torch.tensor([0, 1, 7, 8]), "renumbered")
    assert positions.tolist() == [[0, 1, 2, 3]] * 3
    assert following == 4


def test_compacting_closes_empty_rows_and_columns_and_moves_the_text_up():
    # Image of 2 x 3 at places 2 to 7; left: row 1, columns 0 and 2, so that one row and one column close.
    positions, following = placed(layout(), torch.tensor([0, 1, 5, 7, 8, 9, 10]), "compacted")
    assert positions.tolist() == [[0, 1, 2, 2, 4, 5, 6], [0, 1, 2, 2, 4, 5, 6], [0, 1, 2, 3, 4, 5, 6]]
    assert following == 7


def test_compacting_nothing_changes_nothing():
    whole = layout(((2, 3), (3, 2)))
    positions, following = placed(whole, torch.arange(whole.n_prompt), "compacted")
    assert torch.equal(positions, whole.positions)
    assert following == int(whole.positions.max()) + 1


def test_a_second_image_follows_the_first_and_an_empty_one_takes_no_room():
    whole = layout(((2, 3), (3, 2)), head=1, tail=1)
    # The first image is gone, of the second one block is left.
    index = torch.tensor([0, 7, 8, 14, 15])
    positions, following = placed(whole, index, "compacted")
    assert positions.tolist() == [[0, 1, 2, 3, 4]] * 3
    assert following == 5
