"""Micro's training examples: characters per patch, blocks per word, what may be missing, where to look."""

from __future__ import annotations

import json
import random
from collections import Counter

import numpy as np
import pytest
import torch
from micro.batches import LARGEST_FACTOR, LASTS, Maker, _values, questions
from micro.characters import CHAR_IDS, characters, patch_targets
from micro.folder import MARKER, build_tokenizer, vocabulary
from micro.looks import pieces
from micro.sheets import CLASSES, STEPS, plan
from micro.shown import Shown, show, snap
from micro.targets import END, digits, icons, names, points
from micro.windows import Windows
from mini import training_pages
from nano.batches import nav_step


def page(words, targets=(), facts=(), size=(96, 64)) -> Shown:
    """A page drawn at one device pixel per CSS pixel, shown as it is."""
    image = np.arange(size[0] * size[1] * 3, dtype=np.uint32).astype(np.uint8).reshape(size[1], size[0], 3)
    found = {"words": list(words), "targets": list(targets), "facts": list(facts), "cells": []}
    return show(image, found, 1.0, size)


def ids(text: str) -> list[int]:
    return [CHAR_IDS[c] for c in text]


def test_a_patch_holds_the_characters_whose_centres_lie_in_it():
    # Centres at x = 15, 23, 31 and 39, y = 24: patches 0, 1, 1 and 2 of the second row of patches.
    inner, outer = patch_targets(characters([("cave", 11, 16)]), 8, 64, 32)
    assert inner.shape == (2, 4, 3) and outer.shape == (2, 4, 2)
    assert inner[0, 2].tolist() == [*ids("c"), 0, 0]
    assert inner[0, 3].tolist() == [*ids("av"), 0]
    assert inner[1, 2].tolist() == [*ids("e"), 0, 0]
    assert inner[:, :2].max() == 0  # the upper row of patches shows nothing
    assert outer[0, 2].tolist() == [0, *ids("a")]
    assert outer[0, 3].tolist() == ids("ce")
    assert outer[1, 2].tolist() == [*ids("v"), 0]
    assert (outer[0, :2] == -100).all()


def test_a_neighbour_off_the_picture_is_not_asked_for():
    _, outer = patch_targets(characters([("cave", -8, 0)]), 8, 32, 32)
    assert outer[0, 0].tolist() == [-100, *ids("e")]  # "a" at x = 4: what precedes it is cut off


def test_facts_move_with_the_picture():
    image = np.zeros((64, 128, 3), np.uint8)  # drawn at two device pixels per CSS pixel
    facts = {
        "words": [["ab", 8, 8]],
        "targets": [{"kind": "text", "name": "ab", "box": [0, 0, 32, 16]}],
        "facts": [],
        "cells": [],
    }
    shown = show(image, facts, 2.0, (192, 96))
    assert shown.image.shape == (96, 192, 3) and shown.grid == (6, 3)
    assert (shown.advance, shown.cell) == (24, 48)
    assert shown.words == [("ab", 24, 24)]
    assert shown.targets[0]["box"] == [0, 0, 96, 48]
    assert shown.char_block(shown.words[0], 0) == [7]  # centre (36, 48): second column, second row
    assert shown.word_blocks(shown.words[0]) == [7]
    assert shown.box_blocks([0, 0, 64, 32]) == [0, 1]
    assert snap(100, 20) == (96, 64)


def test_targets_of_blocks():
    icon = {"kind": "icon", "name": "home", "box": [64, 0, 96, 32]}
    button = {"kind": "text", "name": "save", "box": [0, 0, 64, 32]}
    shown = page([("save", 0, 8), ("total", 0, 40), ("42", 64, 40)], [button, icon], [{"key": "total", "value": "42"}])
    assert (icons(shown) > 0).tolist() == [False, False, True, False, False, False]
    # The button's centre, the icon's, and under the key the centre of its value (72, 48).
    assert points(shown)[[0, 2, 3]].tolist() == [[33, 25], [83, 25], [75, 75]]
    assert digits(shown)[5].tolist() == [5, 3, END, 0] and (digits(shown)[:5] == -100).all()
    assert names(shown)[5].tolist() == ids("tota") and names(shown)[:5].max() == 0


def test_two_numbers_in_one_block_are_not_asked_for():
    shown = page([("4", 0, 0), ("7", 16, 0)])
    assert (digits(shown) == -100).all()


def test_a_block_says_which_digits_of_a_number_it_shows():
    shown = page([("987", 12, 0), ("4321", 48, 32)])  # centres at 16, 24 and 32; at 52, 60, 68 and 76
    assert digits(shown)[:3].tolist() == [[10, 9, 0, 0], [0, 0, 8, END], [-100] * 4]
    assert digits(shown)[3:].tolist() == [[-100] * 4, [5, 4, 0, 0], [0, 0, 3, 2]]


def test_a_long_number_hides_the_short_one_beside_it():
    shown = page([("54321", 0, 0), ("42", 48, 0), ("765", 0, 32)])  # the long one ends in the block where 42 begins
    assert digits(shown)[1].tolist() == [-100] * 4 and digits(shown)[0].tolist() == [-100] * 4
    assert digits(shown)[3].tolist() == [8, 7, 6, END]


def test_a_number_that_the_edge_cuts_off_is_not_asked_for():
    shown = page([("4321", -8, 0), ("42", 64, 0), ("765", 80, 32)])
    assert digits(shown)[2].tolist() == [5, 3, END, 0]
    assert (np.delete(digits(shown), 2, 0) == -100).all()


def test_windows_keep_characters_and_numbers_where_they_are(tmp_path):
    # One page of one word per block row, drawn at two device pixels per CSS pixel; a window of its size shows all.
    words = [["1234", 16, 8], ["cave", 16, 40]]
    np.save(tmp_path / "text-0000.npy", np.zeros((1, 128, 128, 3), np.uint8))
    (tmp_path / "text-0000.json").write_text(json.dumps({"scale": 2.0, "facts": [{"words": words}]}))
    batch = Windows(tmp_path, 1).batch(2, 128, 32, 32)  # cells of 32 px: as drawn, but for 4 % of jitter
    assert batch.images.shape == (2, 128, 128, 3) and batch.inner.shape == (2, 16, 4, 3)
    assert np.allclose(batch.cells, 32, rtol=0.05)
    for n in range(2):
        said = [d for d in batch.digits[n].tolist() if d[0] >= 0]
        assert sorted(c for d in said for c in d if c) == [2, 3, 4, 5] and len(said) >= 2
        found = [c for c in batch.inner[n].flatten().tolist() if c]
        assert sorted(found) == sorted(ids("1234cave"))


def test_only_questions_with_one_answer():
    twice = [{"kind": "text", "name": "save", "box": [x, 0, x + 32, 32]} for x in (0, 64)]
    facts = [{"key": "total", "value": "42"}, {"key": "owner", "value": "mara"}, {"key": "code", "value": "12345"}]
    assert [q for q, _, _ in questions(page([("total", 0, 32)], twice, facts))] == ["what is total"]


def test_words_are_read_by_the_character_and_two_digits_are_one_token():
    tokenizer = build_tokenizer()
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("click save 07 1234")) == [
        "click", " ", "s", "a", "v", "e", " ", "07", " ", "1", "2", "3", "4",
    ]  # fmt: skip
    assert pieces("click user icon", ["user"]) == [(2, "user", 0)]
    assert [word for _, word, _ in pieces("what is save", ["save"])] == ["save"] * 4
    assert MARKER in vocabulary() and len(set(vocabulary())) == len(vocabulary())


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path, build_tokenizer(), 1)


def test_where_to_look(maker):
    button = {"kind": "text", "name": "save", "box": [0, 0, 64, 32]}
    shown = page([("save", 0, 8), ("total", 0, 40), ("420", 64, 40)], [button], [{"key": "total", "value": "420"}])
    pairs = sorted(questions(shown))
    assert [q for q, _, _ in pairs] == ["click save", "what is total"]
    batch = maker.pack([([shown], pairs)], missing=False)
    assert batch.seen == [[[0], [3, 4, 5]]]  # a value is nothing without its key
    assert batch.present.all() and not batch.markers.any()
    # Pointers: a label is both what is named and what is meant; a key is named, its value is meant.
    assert batch.wanted[:, 0, 0, 0].tolist() == [1, 1]
    assert batch.wanted[0, 0, 1].tolist() == [0, 0, 0, 0.5, 0.5, 0]
    assert batch.wanted[1, 0, 1].tolist() == [0, 0, 0, 0, 0, 1]
    before, named, question, screen = batch.attend
    assert (0, 0, 3, [2], [2]) in before and (0, 0, 5, [4], [3]) in before
    assert [e[3] for e in named if e[1] == 1] == [[3], [3], [3], [3], [4]]
    start = batch.answers[0][1]
    assert [e[2:4] for e in screen if e[1] == 1] == [(start - 1, [5]), (start, [5]), (start + 1, [5])]
    assert {tuple(e[3]) for e in question if e[1] == 1} == {(4, 5, 6, 7, 8)}


def test_values_are_spelt_out_and_coordinates_are_not(maker):
    """A value of two digits begins as one of four does; a click keeps its two numbers."""
    ids, start = maker.segment("what is total", "42", "text")
    assert maker.tokenizer.convert_ids_to_tokens(ids[start:]) == ["4", "2", "<|im_end|>"]
    ids, start = maker.segment("click save", "click 07 42", "box")
    assert maker.tokenizer.convert_ids_to_tokens(ids[start:]) == ["click", " ", "07", " ", "42", "<|im_end|>"]
    ids, start = maker.segment("goal: type code of total", "type 42", "text")
    assert maker.tokenizer.convert_ids_to_tokens(ids[start:]) == ["type", " ", "4", "2", "<|im_end|>"]
    shown = page([("total", 0, 40), ("42", 64, 40)], facts=[{"key": "total", "value": "42"}])
    batch = maker.pack([([shown], questions(shown))], missing=False)
    start = batch.answers[0][0]
    assert [e[2:4] for e in batch.attend[3]] == [(start - 1, [5]), (start, [5])]  # each digit looks at its block


def test_where_blocks_go_before_the_encoder_the_others_say_what_they_show_themselves(maker):
    shown = page([("total", 0, 40), ("420", 64, 40)], facts=[{"key": "total", "value": "420"}])
    orders = set()
    for _ in range(40):
        batch = maker.pack([([shown], questions(shown))], missing=True)
        orders.add(batch.before)
        plain = maker.pack([([shown], questions(shown))], False)
        assert torch.equal(batch.inner, plain.inner) and torch.equal(batch.icons, plain.icons)
        for name in ("outer", "points", "names", "digits"):
            wanted = getattr(plain, name)
            assert torch.equal(getattr(batch, name), torch.full_like(wanted, -100) if batch.before else wanted)
    assert orders == {True, False}
    assert not any(maker.pack([([shown], questions(shown))], False).before for _ in range(9))


def test_a_step_types_what_an_earlier_screen_shows(maker):
    """Blocks are numbered through the screens of an episode; what was seen on the first is typed on the second."""
    code = page([("total", 0, 40), ("42", 64, 40)], facts=[{"key": "total", "value": "42"}])
    button = {"kind": "text", "name": "save", "box": [0, 0, 64, 32]}
    now = page([("save", 0, 8)], [button])
    steps = [
        ("goal: type code of total", "type 42", ("text", (["total"], ["42"], None, False))),
        ("goal: tap save", "tap 33 25", ("box", button["box"], now.size, (["save"], ["save"], None, True))),
        ("goal: tap owner", "scroll down", ("text", ([], [], None, True))),
    ]
    batch = maker.pack([([code, now], steps)], missing=False)
    assert batch.frames == 2 and batch.images.shape[0] == 2 and batch.present.shape == (1, 12)
    assert batch.seen == [[[3, 4, 5], [6], []]]
    start = batch.answers[0][0]
    assert [e[2:4] for e in batch.attend[3] if e[1] == 0] == [(start + 1, [5]), (start + 2, [5])]  # behind "type "


@pytest.fixture
def screens(maker):
    """One screen per class of an episode: a button everywhere, a code where there is neither field nor error."""
    button = {"kind": "text", "name": "save", "box": [0, 0, 64, 32]}
    failed = {"kind": "text", "name": "", "box": [0, 0, 64, 32]}
    for name in {name for own, lasts in STEPS.items() for name in (own, *lasts.values())}:
        cls = CLASSES[name]
        image = np.zeros((1, cls.size[1], cls.size[0], 3), np.uint8)
        found = {"words": [["save", 0, 8]], "targets": [button], "facts": [], "cells": []}
        if not cls.last:
            found["words"] = [*found["words"], ["total", 0, 40], ["420", 64, 40]]
            found["facts"] = [{"key": "total", "value": "420"}]
        maker.sheets[name] = [(image, [{**found, "targets": [failed if cls.last == "error" else button]}], cls.scale)]
    classes, rows, draw, pack = {}, [], maker.draw, maker.pack

    def drawn(name, size):
        shown = draw(name, size)
        classes[id(shown)] = name, shown  # held, so that no other gets its number
        return shown

    def packed(these, missing, only_evidence=False):
        rows[:] = [[classes[id(shown)][0] for shown in pages] for pages, _ in these]
        return pack(these, missing, only_evidence)

    maker.draw, maker.pack = drawn, packed
    return rows


def test_steps_are_drawn_from_screens_of_one_size(maker, screens):
    """Earlier screens come from the plain class, the last one may be another; the tokens of all stay below."""
    seen, answers = set(), {"": Counter(), "field": Counter(), "error": Counter()}
    for _ in range(60):
        batch = maker.steps((15.0, 36.0), 200.0, 300, 2, missing=False)
        height, width = batch.images.shape[1:3]
        assert batch.frames * height * width / 1024 < 1.3 * 200  # whole blocks of 32 px
        drawn = CLASSES[screens[0][0]].size
        assert max(width / drawn[0], height / drawn[1]) < LARGEST_FACTOR + 0.1  # likewise
        assert len(batch.segments) >= 2 and all(len(row) == 2 for row in batch.segments)
        seen.add(batch.frames)
        for classes_, row, starts in zip(screens, batch.segments, batch.answers, strict=True):
            assert not any(CLASSES[name].last for name in classes_[:-1])
            for ids, start in zip(row, starts, strict=True):
                answers[CLASSES[classes_[-1]].last][maker.tokenizer.convert_ids_to_tokens(ids[start])] += 1
    assert len(seen) > 2
    assert set(answers["error"]) == {"back"} and "back" not in answers[""] | answers["field"]
    assert answers["field"]["type"] and "type" not in answers[""]
    assert answers[""]["done"] and answers[""]["tap"] and answers[""]["scroll"]


def test_a_failed_page_is_left_whatever_the_goal():
    """Micro was once trained on failed pages with goals that they show alone, and scrolled on all others."""
    button = {"kind": "text", "name": "save", "box": [0, 0, 64, 32]}
    failed = {**button, "name": ""}
    screens = [{"targets": targets, "facts": []} for targets in ([button], [failed, button])]
    rng = random.Random(0)
    steps = [nav_step(rng, screens, False, (96, 64)) for _ in range(60)]
    assert {answer for _, answer, _ in steps} == {"back"}
    goals = [question.removeprefix("goal: ").split(".")[0] for question, _, _ in steps]
    assert "tap save" in goals and any(g.startswith("type code of ") for g in goals)
    assert any(g.startswith("tap ") and g != "tap save" for g in goals)


def test_the_shares_of_the_last_screens_leave_room_for_others():
    assert set(LASTS) == {"field", "error"} and sum(LASTS.values()) < 1
    for name, lasts in STEPS.items():
        assert {last: CLASSES[other].last for last, other in lasts.items()} == {last: last for last in LASTS}
        assert {CLASSES[other].size for other in lasts.values()} == {CLASSES[name].size}


@pytest.mark.parametrize("n", [1, len(CLASSES), 90])
def test_every_class_has_a_sheet_before_any_has_two(n):
    """Training waits for one of each: a plan of fewer would let it wait forever."""
    order = plan(n, 3)
    assert len(order) == max(n, len(CLASSES)) and set(order[: len(CLASSES)]) == set(CLASSES)


def test_long_numbers_are_asked_for_before_short_ones():
    facts = [{"key": str(i), "value": v} for i, v in enumerate(("7", "1234", "word", "56", "890", "123456"))]
    assert [f["value"] for f in _values(facts, 3)] == ["1234", "890"]
    assert [f["value"] for f in _values(facts, 1)] == ["7", "1234", "56", "890"]
    assert [f["value"] for f in _values(facts[:1], 3)] == ["7"]  # better a short one than none


def test_half_of_what_was_drawn_at_a_scale_of_one_is_shown_as_drawn(maker):
    cells = [maker._cell(CLASSES["pane1"], 15.0, 36.0) for _ in range(400)]
    assert 150 < sum(cell == 16 for cell in cells) < 250 and min(cells) >= 15 and max(cells) > 30
    assert all(cell >= 20 for cell in (maker._cell(CLASSES["pane1"], 20.0, 36.0) for _ in range(50)))
    assert all(cell != 32 for cell in (maker._cell(CLASSES["pane"], 15.0, 36.0) for _ in range(50)))


def test_a_large_page_is_a_batch_of_its_own(maker):
    facts = {"words": [["save", 0, 8]], "targets": [], "facts": [], "cells": []}
    facts["targets"] = [{"kind": "text", "name": "save", "box": [0, 0, 64, 32]}]
    maker.sheets["full"] = [(np.zeros((1, 672, 960, 3), np.uint8), [facts], 1.5)]
    assert len(maker.pages("full", (960, 864), 560, 2, False).images) == 1  # 810 tokens
    assert len(maker.pages("full", (960, 672), 560, 2, False).images) == 2  # 630


@pytest.mark.parametrize("kind", ["ui", "error"])
def test_a_failed_page_says_so(kind):
    pages = [training_pages.page(random.Random(seed), "pane", kind) for seed in range(40)]
    failed = [any(("target", "") in cell.data for cell in p.cells) for p in pages]
    assert all(failed) if kind == "error" else 0 < sum(failed) < 15


def test_pages_are_drawn_by_their_share(maker):
    maker.sheets = {"card": [None], "desk": [None], "entry": [None]}  # a screen with a field is never a page of its own
    drawn = Counter(maker.pick((15.0, 36.0), 900.0)[0] for _ in range(400))
    assert drawn["desk"] > 4 * drawn["card"] > 0 == drawn["entry"]  # ten sheets to one


def test_a_share_of_the_pages_is_large(maker):
    maker.sheets = {"card": [None], "desk": [None], "full": [None]}
    drawn = [w * h / 1024 for _, (w, h) in (maker.pick((15.0, 36.0), 1300.0) for _ in range(400))]
    assert max(drawn) <= 1300 and np.mean([n > 500 for n in drawn]) > 0.25
    assert all(w * h / 1024 <= 1300 for _, (w, h) in (maker.pick((15.0, 16.0), 1300.0) for _ in range(40)))


def test_duplicates_or_a_share_goes_missing_and_a_run_leaves_one_marker(maker):
    images = np.zeros((1, 64, 96, 3), np.uint8)
    images[0, :32, :32] = 7
    images[0, 32:, 64:] = 9
    kinds = set()
    for _ in range(60):
        present = maker._missing(images, 1)
        markers = maker._markers(present)
        assert not (present & markers).any()
        if present[0].tolist() == [True, True, False, False, False, True]:
            kinds.add("duplicates")
        else:
            assert present.sum() >= 3  # at most 60 % of six blocks
            kinds.add("share")
        if markers.any():
            kinds.add("markers")
            gone = ~present[0]
            ends = [i for i in range(6) if gone[i] and (i == 5 or not gone[i + 1])]
            assert np.flatnonzero(markers[0]).tolist() == ends
    assert kinds == {"duplicates", "share", "markers"}
    assert not any(maker._markers(np.ones((1, 6), bool)).any() for _ in range(20))


def test_little_but_the_evidence_stays_mostly_with_an_even_grid(maker):
    """As the oracle leaves it."""
    even = 0
    for _ in range(60):
        kept = np.flatnonzero(maker._evidence([[55]], 100)[0])
        assert 55 in kept and len(kept) <= 31
        steps = np.diff([k for k in kept if k != 55])
        even += len(steps) > 2 and sorted(steps)[-2] - steps.min() <= 1  # one step may lie across the evidence
    assert 25 < even < 50


def test_where_little_but_the_evidence_stays_few_things_are_asked_and_half_keep_all_that_a_box_touches(maker):
    facts = {"words": [["save", 64, 56]], "facts": [], "cells": []}
    facts["targets"] = [{"kind": "text", "name": "save", "box": [40, 40, 136, 88]}]  # 3 x 2 blocks beside the word's
    images = np.random.default_rng(0).integers(0, 255, (1, 448, 640, 3), dtype=np.uint8)  # no duplicates
    maker.sheets["full"] = [(images, [facts], 1.0)]
    kept, asked = Counter(), Counter()
    for _ in range(80):
        batch = maker.pages("full", (640, 448), 560, 6, True)
        share = float(batch.present.float().mean())
        asked[len(batch.segments[0]), len(batch.images)] += 1
        if share < 0.38:
            grid = batch.present.reshape(-1, 14, 20).numpy()
            kept[bool(grid[:, 1:3, 1:5].all())] += 1
            assert grid[:, 2, 2].all()  # the word
    assert set(asked) == {(6, 2), (2, 4)} and min(asked.values()) > 20
    assert min(kept[True], kept[False]) > 8


def test_something_is_left_where_there_is_no_evidence(maker):
    images = np.random.default_rng(0).integers(0, 255, (1, 64, 96, 3), dtype=np.uint8)
    assert all(maker._missing(images, 1).any() for _ in range(300))
    assert all(maker._evidence([[]], 6).any() for _ in range(300))
