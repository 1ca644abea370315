"""A small random Qwen3-VL and slow references that use the model class's own forward passes."""

from __future__ import annotations

from pathlib import Path

import torch

from vtprune_eval.image_file import open_image
from vtprune_eval.models.base import ImageRules
from vtprune_eval.models.qwen3_vl import Qwen3VL
from vtprune_eval.pipeline.prompt import build_prompt, full_size, patch_rows, resize
from vtprune_eval.sample import Sample
from vtprune_eval.selftest.small import small_config, tokenizer

RULES = ImageRules(16, 2, 2, 4096, 1 << 17, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def tiny_model(attn: str = "sdpa", seed: int = 0):
    """A Qwen3-VL of 0.3 M parameters with three DeepStack levels; the spread of its weights gives logits margins."""
    from transformers import Qwen3VLForConditionalGeneration

    config = small_config("qwen3_vl", num_hidden_layers=5)
    config._attn_implementation = attn
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).eval()
    for weight in model.parameters():
        if weight.ndim > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    model.generation_config.eos_token_id = [tokenizer().eos_token_id]
    return Qwen3VL("tiny", model, tokenizer(), RULES, {})


class Reference:
    """Inputs as the model class wants them, built from the pipeline's own pixels."""

    def __init__(self, adapter, sample: Sample) -> None:
        self.adapter, self.model = adapter, adapter.model
        pixels = [open_image(Path(p)) for p in sample.images]
        pixels = [resize(p, full_size((p.shape[1], p.shape[0]), adapter.images, "x")) for p in pixels]
        self.prompt = build_prompt(adapter, pixels, sample.question)
        self.layout = self.prompt.layout
        self.patches = torch.cat([patch_rows(p, adapter.images, None) for p in pixels])
        self.thw = torch.tensor([[1, h * 2, w * 2] for h, w in self.layout.grids])
        self.ids = self.prompt.ids[None]
        self.visual = self.ids[0] == self.model.config.image_token_id
        self.types = self.visual.int()[None]

    @torch.no_grad()
    def generate(self, n_new: int) -> list[int]:
        out = self.model.generate(
            input_ids=self.ids,
            pixel_values=self.patches,
            image_grid_thw=self.thw,
            mm_token_type_ids=self.types,
            attention_mask=torch.ones_like(self.ids),
            max_new_tokens=n_new,
            do_sample=False,
        )
        return out[0, self.ids.shape[1] :].tolist()

    @torch.no_grad()
    def positions(self) -> torch.Tensor:
        return self.model.model.get_rope_index(self.ids, self.types, image_grid_thw=self.thw)[0]

    @torch.no_grad()
    def encode(self, keep: torch.Tensor | None = None):
        """The tower's own forward on the patches of kept blocks: tokens and DeepStack levels."""
        from transformers.vision_utils import get_vision_interpolation_indices_and_weights, get_vision_position_ids

        visual = self.model.model.visual
        if keep is None:
            keep = torch.ones(self.layout.n_visual, dtype=torch.bool)
        rows = keep.repeat_interleave(4)
        index, weight = get_vision_interpolation_indices_and_weights(
            self.thw,
            num_grid_per_side=visual.num_grid_per_side,
            mode=visual.interpolation_mode,
            align_corners=visual.interpolation_align_corners,
            spatial_merge_size=2,
            kwargs={},
        )
        places = get_vision_position_ids(self.thw, 2, kwargs={})
        places = places[:, rows] if places.shape[0] == 2 else places[rows]
        counts = [4 * int(part.sum()) for part in keep.split(list(self.layout.n_tokens))]
        bounds = torch.tensor([0, *[c for c in counts if c]]).cumsum(0, dtype=torch.int32)
        out = visual(
            self.patches[rows],
            grid_thw=self.thw,
            interp_indices=index[rows],
            interp_weights=weight[rows],
            position_ids=places,
            cu_seqlens=bounds,
            max_seqlen=max(counts),
        )
        return out.pooler_output, out.deepstack_features

    @torch.no_grad()
    def greedy(self, keep: torch.Tensor, n_new: int, positions: torch.Tensor | None = None) -> list[int]:
        """Greedy ids of the class's text model on the shortened sequence with the full prompt's positions."""
        from transformers import DynamicCache

        text, head = self.model.model.language_model, self.model.lm_head
        tokens, levels = self.encode(keep)
        full = self.positions()
        kept = ~self.visual
        kept[self.visual] = keep
        embeds = text.embed_tokens(self.ids)[:, kept].clone()
        visual = self.visual[kept]
        embeds[0, visual] = tokens
        places = full[:, :, kept] if positions is None else positions
        follow = int(full.max()) + 1 if positions is None else int(positions.max()) + 1
        cache = DynamicCache(config=text.config)
        hidden = text(
            inputs_embeds=embeds,
            position_ids=places,
            past_key_values=cache,
            use_cache=True,
            visual_pos_masks=visual[None],
            deepstack_visual_embeds=list(levels),
        ).last_hidden_state
        out = [int(head(hidden[:, -1]).argmax())]
        while len(out) < n_new and out[-1] not in self.adapter.eos_ids:
            hidden = text(
                input_ids=torch.tensor([[out[-1]]]),
                position_ids=torch.full((3, 1, 1), follow),
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            follow += 1
            out.append(int(head(hidden[:, -1]).argmax()))
        return out
