"""The published vocabularies: ids and turns that the vendor's own pages show, and text that comes back whole."""

from __future__ import annotations

import base64

import pytest

from vtprune_eval.models import vocabulary
from vtprune_eval.models.vocabulary import merges_of, rank_file, read_ranks, true_tokenizer

ONE_IMAGE = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "hi"}]}]


@pytest.fixture(scope="module")
def qwen():
    return true_tokenizer("qwen3_vl")


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("Hello, world!", [9707, 11, 1879, 0]),
        ("You are a helpful assistant.", [2610, 525, 264, 10950, 17847, 13]),
        ("<|im_start|>system\n", [151644, 8948, 198]),
        ("<|im_end|>\n<|im_start|>user\n", [151645, 198, 151644, 872, 198]),
        ("<|im_start|>assistant\n", [151644, 77091, 198]),
        ("<|vision_start|><|image_pad|><|vision_end|>", [151652, 151655, 151653]),
        ("<|endoftext|><|video_pad|><think></think>", [151643, 151656, 151667, 151668]),
    ],
)
def test_known_ids(qwen, text, ids):
    assert qwen(text, add_special_tokens=False)["input_ids"] == ids


@pytest.mark.parametrize("text", ["naïve  日本語 \n\n x123", "it's\tWE'LL\r\n", "🙂 é ẹ́", "", "a" * 300])
def test_text_comes_back_whole(qwen, text):
    import unicodedata

    assert qwen.decode(qwen(text)["input_ids"]) == unicodedata.normalize("NFC", text)


def test_turns_of_the_families(qwen):
    def turns(tokenizer):
        return tokenizer.apply_chat_template(ONE_IMAGE, tokenize=False, add_generation_prompt=True)

    plain = "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>hi<|im_end|>\n<|im_start|>assistant\n"
    assert turns(qwen) == plain
    older = true_tokenizer("qwen2_5_vl")
    assert turns(older) == "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n" + plain
    system = [{"role": "system", "content": [{"type": "text", "text": "x"}]}, *ONE_IMAGE]
    assert older.apply_chat_template(system, tokenize=False).count("<|im_start|>system") == 1


def test_the_larger_vocabulary():
    """Ids of its special tokens are those of the configuration's defaults in transformers."""
    from transformers import Qwen3_5Config

    tokenizer, config = true_tokenizer("qwen3_5"), Qwen3_5Config()
    for token, number in (
        ("<|vision_start|>", config.vision_start_token_id),
        ("<|vision_end|>", config.vision_end_token_id),
        ("<|image_pad|>", config.image_token_id),
        ("<|video_pad|>", config.video_token_id),
    ):
        assert tokenizer.convert_tokens_to_ids(token) == number
    assert tokenizer.decode(tokenizer("Hello, world!")["input_ids"]) == "Hello, world!"
    said = tokenizer.apply_chat_template(ONE_IMAGE, tokenize=False, add_generation_prompt=True, enable_thinking=False)
    assert said.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_sizes_are_the_published_ones():
    assert len(read_ranks(rank_file("qwen2_vl"))) == 151_643
    assert len(read_ranks(rank_file("qwen3_5"))) == 248_044
    assert rank_file("opencua") is None and true_tokenizer("opencua") is None


def test_merges_follow_the_ranks(tmp_path):
    tokens = [b"a", b"b", b"c", b"ab", b"bc", b"abc"]
    path = tmp_path / "x.tiktoken"
    lines = [f"{base64.b64encode(t).decode()} {rank}" for rank, t in enumerate(tokens)]
    path.write_text("\n".join(reversed(lines)) + "\n")
    assert read_ranks(path) == tokens
    assert merges_of(tokens) == [(b"a", b"b"), (b"b", b"c"), (b"a", b"bc"), (b"ab", b"c")]


def test_without_the_package_nothing_is_made_up(monkeypatch):
    monkeypatch.setattr(vocabulary.importlib.util, "find_spec", lambda name: None)
    assert rank_file("qwen3_vl") is None and true_tokenizer("qwen3_vl") is None
