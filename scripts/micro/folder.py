"""The hub-format folder of micro: configuration, tokenizer, image processor, and its start from nano's weights."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from nano import folder as nano_folder
from nano.folder import CHAT_TEMPLATE, RESERVED, SPECIALS

# What a dropped run of blocks may leave behind (POSPAD); micro has seen it in training.
MARKER = "<|image_drop_end|>"
HEAD = 128
NUMBERS = [f"{i:02d}" for i in range(100)]
# Words of two digits are one token (a coordinate, a percentage); everything else is read character by character, so
# that a token's meaning does not depend on where in its word it stands.
PIECES = r"\b(?:" + "|".join(RESERVED) + r")\b|\b[0-9]{2}\b|[\s\S]"


def vocabulary() -> list[str]:
    """All tokens in id order: specials, fixed words, single characters, numbers of two digits."""
    singles = ["\n"] + [chr(c) for c in range(32, 127)]
    return list(dict.fromkeys([*SPECIALS, MARKER, *[w for w in RESERVED if len(w) > 1], *singles, *NUMBERS]))


def build_tokenizer():
    """A fast tokenizer of single characters, fixed words and two-digit numbers."""
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
        additional_special_tokens=[*SPECIALS[1:7], MARKER],
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_config(layers: int = 6, dim: int = 256, heads: int = 4, groups: int = 2):
    """Configuration of micro: an ordinary, small Qwen3-VL with the real models' head size of 128."""
    config = nano_folder.build_config(dim=dim, layers=layers)
    ids = {t: i for i, t in enumerate(vocabulary())}
    text = config.text_config
    text.vocab_size = -(-len(ids) // 64) * 64
    text.head_dim, text.num_attention_heads, text.num_key_value_heads = HEAD, heads, groups
    text.rope_parameters = {**text.rope_parameters, "mrope_section": [24, 20, 20]}
    text.eos_token_id, text.pad_token_id = ids["<|im_end|>"], ids["<|endoftext|>"]
    for name, token in (
        ("image_token_id", "<|image_pad|>"),
        ("video_token_id", "<|video_pad|>"),
        ("vision_start_token_id", "<|vision_start|>"),
        ("vision_end_token_id", "<|vision_end|>"),
    ):
        setattr(config, name, ids[token])
    return config


def is_micro(folder: Path) -> bool:
    """Whether a folder holds a model of micro's shape, and not of nano's."""
    config = json.loads((folder / "config.json").read_text())
    return bool(config["text_config"]["head_dim"] == HEAD)


def start(folder: Path, seed: int = 0):
    """A micro model that starts from nano's weights, or goes on from a micro folder.

    The vision encoder and the decoder's MLPs are taken over as they are, and half of the attention heads (4 queries,
    2 keys and values), each of 64 inside one of 128: a rotary pair keeps its axis (time, row, column) and takes the
    nearest frequency of the wider head, and the added half starts small. One decoder layer in front is new and adds
    little at first. Embeddings are taken over token by token.

    Args:
        folder: hub-format folder of nano or micro.
        seed: of what is new.
    """
    from transformers import Qwen3VLForConditionalGeneration

    torch.manual_seed(seed)
    whole = Qwen3VLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    if is_micro(folder):
        return whole
    old = whole.model
    model = Qwen3VLForConditionalGeneration(build_config())
    model.model.visual.load_state_dict(old.visual.state_dict())
    text = model.model.language_model
    text.norm.load_state_dict(old.language_model.norm.state_dict())
    half = torch.tensor([2 * j + (0, -1, 1)[j % 3] * (j < 30) for j in range(32)])
    place = torch.cat([half, half + 64])
    with torch.no_grad():
        for module in text.layers[0].modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=module.in_features**-0.5 * 0.7)
        text.layers[0].self_attn.o_proj.weight *= 0.3
        text.layers[0].mlp.down_proj.weight *= 0.3
        for new, was in zip(text.layers[1:], old.language_model.layers, strict=True):
            own = new.state_dict()
            for name, value in was.state_dict().items():
                own[name].copy_(_widened(name, value, own[name], place))
        text.embed_tokens.weight.copy_(_embedding(old.language_model.embed_tokens.weight, text.config.vocab_size))
    model.tie_weights()
    return model


def _widened(name: str, value: torch.Tensor, like: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    """nano's parameter ``value`` in the shape of ``like``; ``place``: a head's dimensions within the wider head."""
    if name.endswith(("q_proj.weight", "k_proj.weight", "v_proj.weight")):
        out = torch.randn(like.shape[0] // HEAD, HEAD, like.shape[1]) * 0.1 * value.std()
        out[:, place] = value.view(-1, 64, value.shape[1])[: len(out)]
        return out.reshape(like.shape)
    if name.endswith("o_proj.weight"):
        out = torch.randn(like.shape[0], like.shape[1] // HEAD, HEAD) * 0.1 * value.std()
        out[:, :, place] = value.view(value.shape[0], -1, 64)[:, : out.shape[1]]
        return out.reshape(like.shape)
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        # The old head fills half of the entries: their root mean square is 1 / sqrt 2 of what it was, so a normed
        # product is twice as large, and the scale (head size to the power of -1/2) is 1 / sqrt 2 of what it was.
        out = torch.full_like(like, float(value.mean()) * 2**-0.25)
        out[place] = value * 2**-0.25
        return out
    return value


def _embedding(rows: torch.Tensor, size: int) -> torch.Tensor:
    """Embedding ``(size, dim)``: the rows of nano's same tokens, the rest random at the same scale."""
    ids = {t: i for i, t in enumerate(nano_folder.vocabulary())}
    out = torch.randn(size, rows.shape[1]) * float(rows.std())
    for i, token in enumerate(vocabulary()):
        if token in ids:
            out[i] = rows[ids[token]]
    return out


def write_folder(model, folder: Path) -> None:
    """Write ``model`` in bfloat16 and everything its processor needs as an ordinary hub folder."""
    nano_folder.write_folder(model, folder, build_tokenizer(), longest_edge=4 * 1048576)
