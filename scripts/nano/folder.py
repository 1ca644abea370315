"""The hub-format folder of nano: configuration, tokenizer, chat template, image processor."""

from __future__ import annotations

import itertools
import json
import string
from pathlib import Path

SPECIALS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|image_pad|>",
    "<|video_pad|>",
    "<|unk|>",
]
# Whole-word tokens: roles, and the fixed words of questions and answers.
RESERVED = [
    "user",
    "assistant",
    "system",
    "click",
    "icon",
    "what",
    "is",
    "of",
    "in",
    "under",
    "tap",
    "type",
    "scroll",
    "down",
    "up",
    "back",
    "done",
    "goal",
    "history",
    "next",
    "none",
    "then",
    "code",
    "the",
    "not",
    "found",
]
PIECES = r"\b(?:" + "|".join(RESERVED) + r")\b|[a-z0-9]{2}|[\s\S]"
IMAGE_TOKEN = "<|image_pad|>"

# The user's images come first, then the text: the order in which the samples of the suite are written.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' }}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}{% for c in m['content'] %}"
    "{% if c['type'] == 'image' %}{{ '<|vision_start|><|image_pad|><|vision_end|>' }}"
    "{% elif c['type'] == 'text' %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}{{ '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def vocabulary() -> list[str]:
    """All tokens in id order: specials, fixed words, single characters, pairs of letters and digits."""
    alphabet = string.ascii_lowercase + string.digits
    singles = ["\n"] + [chr(c) for c in range(32, 127)]
    pairs = ["".join(p) for p in itertools.product(alphabet, repeat=2)]
    fixed = [w for w in RESERVED if len(w) > 2]
    return list(dict.fromkeys(SPECIALS + fixed + singles + pairs))


def build_tokenizer():
    """A fast tokenizer that cuts every word into pairs of characters from its start."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(vocabulary())}, unk_token="<|unk|>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(PIECES), behavior="isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|unk|>",
        additional_special_tokens=SPECIALS[1:7],
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_config(vision_depth: int = 4, vision_dim: int = 192, dim: int = 256, layers: int = 5):
    """Configuration of nano: an ordinary, small Qwen3-VL."""
    from transformers import Qwen3VLConfig

    vocab = vocabulary()
    ids = {t: i for i, t in enumerate(vocab)}
    size = -(-len(vocab) // 64) * 64
    return Qwen3VLConfig(
        text_config={
            "vocab_size": size,
            "hidden_size": dim,
            "intermediate_size": 3 * dim,
            "num_hidden_layers": layers,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 64,
            "max_position_embeddings": 4096,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 5000000.0,
                "mrope_section": [12, 10, 10],
                "mrope_interleaved": True,
            },
            "eos_token_id": ids["<|im_end|>"],
            "pad_token_id": ids["<|endoftext|>"],
            "tie_word_embeddings": True,
        },
        vision_config={
            "depth": vision_depth,
            "hidden_size": vision_dim,
            "intermediate_size": 4 * vision_dim,
            "num_heads": vision_dim // 32,
            "patch_size": 16,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": dim,
            "num_position_embeddings": 256,
            "deepstack_visual_indexes": [1, 2],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def write_folder(model, folder: Path, tokenizer=None, longest_edge: int = 1048576) -> None:
    """Write ``model`` (float32 or bfloat16) and everything its processor needs as an ordinary hub folder.

    Args:
        model: to be written in bfloat16.
        folder: where to.
        tokenizer: nano's if None.
        longest_edge: most pixels of an image (the processor's name for them) before it is made smaller.
    """
    import torch
    from transformers import GenerationConfig, Qwen2VLImageProcessor

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer or build_tokenizer()
    model = model.to(torch.bfloat16)
    ids = tokenizer.convert_tokens_to_ids
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ids("<|im_end|>"), pad_token_id=ids("<|endoftext|>"), max_new_tokens=32
    )
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor = Qwen2VLImageProcessor(
        patch_size=16,
        merge_size=2,
        temporal_patch_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        size={"shortest_edge": 4096, "longest_edge": longest_edge},
    )
    processor.save_pretrained(folder)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    config["processor_class"] = "Qwen3VLProcessor"
    (folder / "preprocessor_config.json").write_text(json.dumps(config, indent=2) + "\n")
