"""The embedded folder and its prompt, fingerprints, and the sizes at which the model sees an image."""

from __future__ import annotations

import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vtprune_eval.methods.focusui import SCORER_FILE
from vtprune_eval.models import NANO, fingerprint, load_model
from vtprune_eval.models.smart_resize import smart_resize


def test_nano_is_an_ordinary_hub_folder():
    from transformers import AutoTokenizer, Qwen2VLImageProcessor, Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration.from_pretrained(NANO, local_files_only=True)
    assert type(model).__name__ == "Qwen3VLForConditionalGeneration"
    assert AutoTokenizer.from_pretrained(NANO, local_files_only=True).tokenize("click save") == [
        "click",
        " ",
        "sa",
        "ve",
    ]
    assert Qwen2VLImageProcessor.from_pretrained(NANO, local_files_only=True).patch_size == 16
    assert sum(p.stat().st_size for p in NANO.rglob("*")) < 25e6


def test_nano_holds_one_file_of_weights_and_the_scorer_below_it():
    """Loaders that glob ``*.safetensors`` in a folder take every match for a shard of the model's weights."""
    assert [p.name for p in NANO.glob("*.safetensors")] == ["model.safetensors"]
    assert (NANO / SCORER_FILE).is_file() and (NANO / SCORER_FILE).parent != NANO


def test_the_fingerprint_covers_the_scorer(tmp_path):
    folder = shutil.copytree(NANO, tmp_path / "model")
    (folder / SCORER_FILE).write_bytes(b"other")
    assert fingerprint(folder) != fingerprint(NANO)


def test_the_prompt_is_the_one_that_nano_was_trained_on():
    from nano.folder import build_tokenizer

    adapter = load_model("nano")
    ids, spans = adapter.prompt_ids([4, 2], "click save draft")
    one = build_tokenizer().encode
    pad = one("<|image_pad|>")
    expected = (
        one("<|im_start|>user\n<|vision_start|>")
        + pad * 4
        + one("<|vision_end|><|vision_start|>")
        + pad * 2
        + one("<|vision_end|>click save draft<|im_end|>\n<|im_start|>assistant\n")
    )
    assert ids == expected
    assert [b - a for a, b in spans] == [4, 2]


def copy_of_nano(folder):
    shutil.copytree(NANO, folder)
    return folder


def test_fingerprint_follows_the_content(tmp_path):
    folder = copy_of_nano(tmp_path / "m")
    before = fingerprint(folder)
    assert before == fingerprint(NANO)
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(raw)
    assert fingerprint(folder) != before


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1920, 1080), (1920, 1088)),
        ((2560, 1440), (2560, 1440)),
        ((1080, 2400), (1088, 2400)),
        ((3840, 2160), (3840, 2176)),
    ],
)
def test_sizes_of_qwen3_vl(size, expected):
    assert smart_resize(*size, factor=32, min_pixels=65536, max_pixels=16777216) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1920, 1080), (1932, 1092)),
        ((2560, 1440), (2548, 1428)),
        ((1080, 2400), (1092, 2408)),
        ((3840, 2160), (3836, 2156)),
    ],
)
def test_sizes_of_the_families_with_patches_of_14(size, expected):
    assert smart_resize(*size, factor=28, min_pixels=3136, max_pixels=12_845_056) == expected


@given(st.integers(1, 8000), st.integers(1, 8000), st.sampled_from([28, 32]))
def test_sizes_agree_with_the_class_own_rule(width, height, factor):
    from transformers.models.qwen2_vl.image_processing_qwen2_vl import smart_resize as theirs

    limits = {"factor": factor, "min_pixels": 65536, "max_pixels": 4_000_000}
    try:
        h, w = theirs(height, width, **limits)
    except ValueError:
        with pytest.raises(ValueError, match="200 times"):
            smart_resize(width, height, **limits)
        return
    assert smart_resize(width, height, **limits) == (w, h)
