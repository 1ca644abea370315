"""Pruned runs against slow references built on the model class's own modules."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.methods.full import Full
from vtprune_eval.notes import Note
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.pipeline.prompt import patch_rows
from vtprune_eval.sample import Sample

from .doubles import EVERY, Cache, Edit, Layers, Patches, Shrink, Tokens


def mask_of(outcome, layout) -> torch.Tensor:
    masks = []
    for n, kept in zip(layout.n_tokens, outcome.kept, strict=True):
        mask = torch.zeros(n, dtype=torch.bool)
        mask[list(kept)] = True
        masks.append(mask)
    return torch.cat(masks)


@pytest.mark.parametrize("seed", range(12))
def test_patches_dropped_before_the_vit(seed, make_sample, reference, run):
    """The class's tower and text model on the shortened sequence, with the full prompt's positions, agree."""
    sample = make_sample(seed)
    outcome = run(sample, Patches(), "50")
    ref = reference(sample)
    keep = mask_of(outcome, ref.layout)
    assert 0 < keep.sum() < len(keep)
    assert list(outcome.ids) == ref.greedy(keep, 8)
    assert outcome.counts.patches == tuple(4 * len(k) for k in outcome.kept)
    assert outcome.counts.prompt == ref.layout.n_prompt - int((~keep).sum())


def test_renumbering_is_another_model_run(make_sample, reference, run):
    class Renumbered(Patches):
        @property
        def positions(self):
            return "renumbered"

    differs = 0
    for seed in range(5):
        sample = make_sample(seed)
        outcome = run(sample, Renumbered())
        ref = reference(sample)
        keep = mask_of(outcome, ref.layout)
        length = int(keep.sum()) + int((~ref.visual).sum())
        assert list(outcome.ids) == ref.greedy(keep, 8, torch.arange(length).expand(3, 1, -1))
        differs += list(outcome.ids) != ref.greedy(keep, 8)
    assert differs


def test_indexing_pixels_equals_indexing_patch_embeddings(adapter, make_sample, reference):
    """Dropping rows of pixel values before the patch embedding gives the rows kept after it."""
    ref = reference(make_sample(1, 1))
    keep = torch.rand(ref.layout.grids[0], generator=torch.Generator().manual_seed(0)) < 0.5
    rows = patch_rows(ref.prompt.pixels[0], adapter.images, keep.numpy())
    assert torch.equal(rows, ref.patches[keep.flatten().repeat_interleave(4)])
    embed = adapter.model.model.visual.patch_embed
    torch.testing.assert_close(embed(rows), embed(ref.patches)[keep.flatten().repeat_interleave(4)])


def test_encode_agrees_with_the_tower(adapter, make_sample, reference):
    ref = reference(make_sample(2, 3))
    keep = torch.rand(ref.layout.n_visual, generator=torch.Generator().manual_seed(1)) < 0.6
    parts = list(keep.split(list(ref.layout.n_tokens)))
    parts[1][:] = False  # an image of which nothing is left
    keep = torch.cat(parts)
    own = adapter.encode(ref.patches[keep.repeat_interleave(4)], ref.layout.grids, parts)
    tokens, levels = ref.encode(keep)
    torch.testing.assert_close(own.tokens, tokens, atol=1e-4, rtol=1e-4)
    for a, b in zip(own.deepstack, levels, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def masked_logits(ref, dropped_after: dict[int, torch.Tensor]) -> torch.Tensor:
    """Logits of the first token when, from the layer after k on, nobody attends to the tokens dropped after layer k."""
    text = ref.model.model.language_model
    tokens, levels = ref.encode()
    hidden = text.embed_tokens(ref.ids).clone()
    hidden[0, ref.visual] = tokens
    rope = text.rotary_emb(hidden, ref.positions())
    n = hidden.shape[1]
    mask = torch.full((n, n), float("-inf")).triu(1)
    for number, layer in enumerate(text.layers):
        hidden = layer(hidden, position_embeddings=rope, attention_mask=mask[None, None])
        if number < len(levels):
            hidden[0, ref.visual] += levels[number]
        if number in dropped_after:
            gone = dropped_after[number].nonzero()[:, 0]
            mask[:, gone] = float("-inf")
            mask[gone, gone] = 0  # a row needs one entry; nobody reads these rows
    return ref.model.lm_head(text.norm(hidden[:, -1:]))[0, -1]


@pytest.mark.parametrize("at", [(0,), (1,), (2,), (0, 2), (-2,)])
@pytest.mark.parametrize("seed", range(4))
@torch.no_grad()
def test_dropping_after_a_layer_is_masking_from_it_on(at, seed, make_sample, reference, adapter, monkeypatch):
    """DeepStack rows stay with their tokens, also when tokens vanish before the last level was added."""
    seen: dict[int, torch.Tensor] = {}
    before: dict[int, int] = {}

    class Spy(Layers):
        def prune_layer(self, view, budget):
            scores = super().prune_layer(view, budget)
            n_keep = max(1, int(view.visual.sum()) // 2)
            visual = view.visual.nonzero()[:, 0]
            keep = ~view.visual
            keep[visual[scores[visual].argsort(descending=True)[:n_keep]]] = True
            gone = torch.zeros(view.layout.n_prompt, dtype=torch.bool)
            gone[view.index[~keep]] = True
            seen[view.layer], before[view.layer] = gone, int(view.visual.sum())
            return keep

    logits = []
    head = adapter.lm_head
    monkeypatch.setattr(adapter, "lm_head", lambda hidden: logits.append(head(hidden)[0, -1]) or head(hidden))
    sample = make_sample(seed)
    outcome = Pipeline(adapter, Spy(at=at), Budget.parse("50", "paper"), max_new_tokens=3).run(sample)
    assert sorted(seen) == sorted(k % 5 for k in at) and any(g.any() for g in seen.values())
    torch.testing.assert_close(logits[0], masked_logits(reference(sample), seen), atol=1e-3, rtol=1e-3)
    for layer, count in before.items():
        assert outcome.counts.layer_visual[layer] == count
        assert outcome.counts.layer_visual[layer + 1] == max(1, count // 2)


def test_a_view_shows_what_the_layer_computed(adapter, make_sample, reference):
    """Keys, values, the window's queries and the hidden states against the class's own full forward pass."""
    from transformers.models.qwen3_vl.modeling_qwen3_vl import apply_rotary_pos_emb

    views = {}

    class Spy(Layers):
        @property
        def window(self):
            return 3

        def prune_layer(self, view, budget):
            views[view.layer] = view
            return torch.ones(len(view.index), dtype=torch.bool)

    sample = make_sample(1)
    Pipeline(adapter, Spy(at=(0, 3)), Budget.parse("50", "paper"), max_new_tokens=1).run(sample)
    ref = reference(sample)
    text = ref.model.model.language_model
    seen = {}

    def record(number):
        return lambda _, args, kwargs: seen.update({number: (kwargs["hidden_states"], kwargs["position_embeddings"])})

    hooks = [text.layers[k].self_attn.register_forward_pre_hook(record(k), with_kwargs=True) for k in views]
    with torch.no_grad():
        ref.greedy(torch.ones(ref.layout.n_visual, dtype=torch.bool), 1)
        for hook in hooks:
            hook.remove()
        for number, view in views.items():
            normed, rope = seen[number]
            a = text.layers[number].self_attn
            shape = (*normed.shape[:2], -1, a.head_dim)
            q, k = apply_rotary_pos_emb(
                a.q_norm(a.q_proj(normed).view(shape)).transpose(1, 2),
                a.k_norm(a.k_proj(normed).view(shape)).transpose(1, 2),
                *rope,
            )
            v = a.v_proj(normed).view(shape).transpose(1, 2)
            close = {"atol": 1e-3, "rtol": 1e-3}
            torch.testing.assert_close(view.queries, q[0, :, -3:], **close)
            torch.testing.assert_close(view.keys, k[0], **close)
            torch.testing.assert_close(view.values, v[0], **close)
            torch.testing.assert_close(view.hidden_normed, normed[0], **close)
            assert torch.equal(view.index, torch.arange(ref.layout.n_prompt)) and torch.equal(view.visual, ref.visual)
            assert (view.layer, view.n_layers) == (number, 5)


@torch.no_grad()
def compressed_greedy(ref, kept: dict[int, torch.Tensor], n_new: int) -> list[int]:
    """Decoding with the whole cache of every query head and a mask over the entries that were not kept."""
    text, adapter = ref.model.model.language_model, ref.adapter
    tokens, levels = ref.encode()
    hidden = text.embed_tokens(ref.ids).clone()
    hidden[0, ref.visual] = tokens
    positions = ref.positions()
    rope = text.rotary_emb(hidden, positions)
    n = hidden.shape[1]
    mask = torch.full((n, n), float("-inf")).triu(1)[None, None]
    caches = []
    for number, layer in enumerate(text.layers):
        _, k, v = adapter.project(number, layer.input_layernorm(hidden[0]), rope)
        caches.append((k.repeat_interleave(2, 0), v.repeat_interleave(2, 0)))
        hidden = layer(hidden, position_embeddings=rope, attention_mask=mask)
        if number < len(levels):
            hidden[0, ref.visual] += levels[number]
    out = [int(ref.model.lm_head(text.norm(hidden[:, -1:]))[0, -1].argmax())]
    allowed = []
    for number in range(len(text.layers)):
        index = kept[number].repeat_interleave(4 // kept[number].shape[0], 0)
        allowed.append(torch.zeros(4, n, dtype=torch.bool).scatter(1, index, True))
    position = int(positions.max()) + 1
    while len(out) < n_new and out[-1] not in adapter.eos_ids:
        hidden = text.embed_tokens(torch.tensor([[out[-1]]]))
        rope = text.rotary_emb(hidden, torch.full((3, 1, 1), position))
        position += 1
        for number, layer in enumerate(text.layers):
            q, k, v = adapter.project(number, layer.input_layernorm(hidden[0]), rope)
            keys = torch.cat([caches[number][0], k.repeat_interleave(2, 0)], 1)
            values = torch.cat([caches[number][1], v.repeat_interleave(2, 0)], 1)
            caches[number] = keys, values
            allowed[number] = torch.cat([allowed[number], torch.ones(4, 1, dtype=torch.bool)], 1)
            scores = (q @ keys.transpose(1, 2)) * 16**-0.5
            weights = scores.masked_fill(~allowed[number][:, None], float("-inf")).softmax(-1)
            mixed = (weights @ values).transpose(0, 1).reshape(1, 1, -1)
            hidden = hidden + layer.self_attn.o_proj(mixed)
            hidden = hidden + layer.mlp(layer.post_attention_layernorm(hidden))
        out.append(int(ref.model.lm_head(text.norm(hidden))[0, -1].argmax()))
    return out


@pytest.mark.parametrize("heads", ["kv_head", "query_head"])
@pytest.mark.parametrize("seed", range(5))
def test_compressed_caches_per_head(heads, seed, make_sample, reference, adapter):
    kept: dict[int, torch.Tensor] = {}

    class Spy(Cache):
        def compress_kv(self, view, budget):
            kept[view.layer] = super().compress_kv(view, budget)
            return kept[view.layer]

    sample = make_sample(seed)
    outcome = Pipeline(adapter, Spy(heads=heads), Budget.parse("30", "paper"), max_new_tokens=8).run(sample)
    ref = reference(sample)
    assert list(outcome.ids) == compressed_greedy(ref, kept, 8)
    capacity = int((~ref.visual).sum()) + Budget.parse("30").count(ref.layout.n_visual, "down")
    n_heads = 2 if heads == "kv_head" else 4
    assert outcome.counts.cache_entries == (capacity,) * 5 and outcome.counts.cache_heads == (n_heads,) * 5
    assert outcome.kv_bytes == 5 * n_heads * capacity * 2 * 16 * 4  # layers, heads, entries, keys and values, float32


def test_query_head_storage_of_everything_is_full_with_twice_the_bytes(make_sample, run):
    sample = make_sample(4)
    full = run(sample, Full(), "100")
    spread = run(sample, Cache(heads="query_head"), "100tok", reading="paper")
    assert sum(full.counts.visual) < 100
    assert spread.ids == full.ids and spread.kv_bytes == 2 * full.kv_bytes
    assert any(note.code == "nothing_dropped" for note in spread.notes)


def test_overspending_in_the_decoder_and_in_the_cache_is_noted(make_sample, run):
    sample = make_sample(3, n_images=2)
    outcome = run(sample, Layers(at=(1,)), "25", reading="paper")
    mean = sum(outcome.counts.layer_visual) / len(outcome.counts.layer_visual)
    asked = Budget.parse("25").count(sum(outcome.counts.visual_full), "down")
    assert mean > asked
    assert Note("over_layers", {"mean": round(mean, 4), "asked": asked}) in outcome.notes
    assert not any(n.code == "over_layers" for n in run(sample, Tokens(), "25").notes)
    whole = run(sample, Full(), "100").kv_bytes
    for budget in ("10", "90"):
        outcome = run(sample, Cache(heads="query_head"), budget, reading="paper")
        assert any(n.code == "per_query_head" for n in outcome.notes)
        found = [str(n) for n in outcome.notes if n.code == "cache_larger"]
        share = outcome.kv_bytes / whole
        assert found == ([f"the cache holds {100 * share:.0f} % of the bytes of the full model's"] if share > 1 else [])
    assert share > 1


def test_a_paper_s_budget_of_the_prompt_is_the_whole_capacity(make_sample, run):
    class OfPrompt(Cache):
        paper_of = "prompt"

    sample = make_sample(2, 3)
    outcome = run(sample, OfPrompt(), "40", reading="paper")
    assert outcome.counts.cache_entries == (Budget.parse("40").count(outcome.counts.prompt_full, "down"),) * 5


def test_what_was_achieved_stands_in_the_outcome(make_sample, run):
    """One unit for all: visual tokens per layer, or visual entries per layer and kv head where the cache was cut."""
    sample = make_sample(3, 2)
    n_full = sum(run(sample, Full(), "100").counts.visual_full)
    for method, budget in ((Tokens(), "30"), (Layers(at=(0,)), "60"), (Cache(), "30")):
        outcome = run(sample, method, budget)
        allowed = Budget.parse(budget).count(n_full)
        assert (outcome.asked, outcome.reading) == (budget, "equal")
        assert 100 * (allowed - 1) / n_full < outcome.achieved <= 100 * allowed / n_full
        counts = outcome.counts
        if isinstance(method, Cache):
            assert counts.cache_entries == (counts.n_text + allowed,) * 5
            assert counts.cache_visual == (2 * allowed,) * 5
        else:
            assert counts.cache_visual == tuple(2 * n for n in counts.layer_visual)
    assert run(sample, Full(), "100").achieved == 100


@pytest.mark.parametrize("seed", range(5))
def test_token_scores_meet_the_budget(seed, make_sample, reference, run):
    sample = make_sample(seed)
    outcome = run(sample, Tokens(), "37")
    ref = reference(sample)
    keep = mask_of(outcome, ref.layout)
    assert int(keep.sum()) == Budget.parse("37").count(ref.layout.n_visual)
    tokens, _ = ref.encode()
    assert tokens.norm(dim=1)[keep].min() >= tokens.norm(dim=1)[~keep].max() - 1e-4
    assert outcome.counts.patches == outcome.counts.patches_full  # the ViT ran on everything


@pytest.mark.parametrize("deepstack", [True, False])
@torch.no_grad()
def test_markers_get_no_deepstack(deepstack, adapter, make_sample, reference):
    sample = make_sample(6, 2)
    outcome = Pipeline(adapter, Edit(deepstack=deepstack), Budget.parse("50"), max_new_tokens=1).run(sample)
    ref = reference(sample)
    text = ref.model.model.language_model
    tokens, levels = ref.encode()
    keep = torch.arange(len(tokens)) % 2 == 0
    kept = ~ref.visual
    kept[ref.visual] = keep
    hidden = text.embed_tokens(ref.ids)[:, kept].clone()
    visual = ref.visual[kept]
    features = tokens[keep].clone()
    features[0] = 0
    hidden[0, visual] = features
    levels = [level[keep].clone() * float(deepstack) for level in levels]
    for level in levels:
        level[0] = 0
    out = text(
        inputs_embeds=hidden,
        position_ids=ref.positions()[:, :, kept],
        visual_pos_masks=visual[None],
        deepstack_visual_embeds=levels,
    ).last_hidden_state
    assert outcome.ids == (int(ref.model.lm_head(out[:, -1]).argmax()),)


def test_smaller_images_keep_the_file_frame(make_sample, run):
    sample = make_sample(0, 2)
    outcome, full = run(sample, Shrink()), run(sample, Full(), "100")
    assert outcome.file_sizes == full.file_sizes and outcome.model_sizes != full.model_sizes
    assert outcome.counts.visual_full == full.counts.visual
    assert outcome.counts.visual == tuple(w * h // 1024 for w, h in outcome.model_sizes)
    assert outcome.counts.prompt_full == full.counts.prompt_full > outcome.counts.prompt


def test_order_of_samples_and_repetition_do_not_matter(adapter, make_sample):
    samples = [make_sample(s) for s in range(4)]
    for method in EVERY:
        pipeline = Pipeline(adapter, method, Budget.parse("50", "paper"), max_new_tokens=4, seed=7)
        there = {s.id: pipeline.run(s) for s in samples}
        back = {s.id: pipeline.run(s) for s in reversed(samples)}
        for key, outcome in there.items():
            assert (outcome.ids, outcome.kept, outcome.counts) == (back[key].ids, back[key].kept, back[key].counts)


def test_the_seed_reaches_the_method(make_sample, run):
    sample = make_sample(2, 3)
    assert run(sample, Patches(), seed=0).kept != run(sample, Patches(), seed=1).kept


def test_a_token_view_holds_the_words_of_the_instruction_alone(adapter, make_sample):
    seen = []

    class Spy(Tokens):
        def select_tokens(self, view, budget):
            seen.append(view.question_features)
            return super().select_tokens(view, budget)

    sample = replace(make_sample(1, 1), question="You are an agent. Task: ab")
    pipeline = Pipeline(adapter, Spy(), Budget.parse("50"), max_new_tokens=1)
    for instruction, words in ((None, sample.question), ("ab", "ab")):
        pipeline.run(replace(sample, instruction=instruction))
        ids = adapter.tokenizer(words, add_special_tokens=False)["input_ids"]
        assert torch.equal(seen.pop(), adapter.text.embed_tokens(torch.tensor(ids)))


def test_methods_compose_and_collide(adapter, make_sample, reference):
    sample = make_sample(1, 2)
    pipeline = Pipeline(adapter, [Patches(), Layers(), Cache()], Budget.parse("60"), max_new_tokens=4)
    counts = pipeline.run(sample).counts
    n_layers = len(counts.layer_tokens)
    assert sum(counts.patches) < sum(counts.patches_full) and len(counts.cache_entries) == n_layers
    assert counts.layer_visual[2] <= counts.layer_visual[1] <= sum(counts.visual)
    with pytest.raises(UserError, match="select_tokens"):
        Pipeline(adapter, [Tokens(), Edit()], Budget.parse("50"))


def test_encoder_attention_and_keys(adapter, make_sample, reference):
    """Chunked encoder attention is the softmax of the tower's own projections, per image, mean 1."""
    ref = reference(make_sample(3, 2))
    need = ("encoder_attention:-2", "encoder_keys:1")
    extras = adapter.encode(ref.patches, ref.layout.grids, [None, None], need).extras
    attention, keys = extras[need[0]], extras[need[1]]
    n = ref.layout.n_visual
    assert attention.shape == (n,) and keys.shape == (n, 32)
    for part in attention.split(list(ref.layout.n_tokens)):
        assert abs(float(part.detach().mean()) - 1) < 1e-4
    blocks = adapter.model.model.visual.blocks
    got = {}
    from transformers.models.qwen3_vl import modeling_qwen3_vl as m

    hook = blocks[2].register_forward_pre_hook(
        lambda _, args, kwargs: got.update(hidden=args[0], rope=kwargs["position_embeddings"]), with_kwargs=True
    )
    with torch.no_grad():
        ref.encode()
        hook.remove()
        a = blocks[2].attn
        q, k, _ = a.qkv(blocks[2].norm1(got["hidden"])).reshape(4 * n, 3, 2, -1).permute(1, 0, 2, 3).unbind(0)
        q, k = m.apply_rotary_pos_emb_vision(q, k, *got["rope"])
        first = 4 * ref.layout.n_tokens[0]
        maps = ((q[:first].transpose(0, 1) @ k[:first].permute(1, 2, 0)) * 16**-0.5).softmax(-1)
    expected = maps.mean(0).sum(0).view(-1, 4).mean(1)
    torch.testing.assert_close(attention[: ref.layout.n_tokens[0]], expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("content", [b"", b"not an image", b"\x89PNG\r\n\x1a\n broken"])
def test_unreadable_images_are_failed_samples(content, tmp_path, run):
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(SampleError, match=r"x\.png") as caught:
        run(Sample("a", (path,), "q", {}), Full(), "100")
    assert caught.value.reason == "bad_image"


@pytest.mark.parametrize(("size", "fine"), [((1, 1), True), ((20000, 20), False), ((300, 2), True), ((450, 2), False)])
def test_extreme_shapes_follow_the_processors_rule(size, fine, tmp_path, run):
    from PIL import Image

    path = tmp_path / "x.png"
    Image.new("RGB", size, (200, 10, 10)).save(path)
    sample = Sample("a", (path,), "q", {})
    if fine:
        outcome = run(sample, Full(), "100", n_new=2)
        assert outcome.file_sizes == (size,) and all(s >= 32 for s in outcome.model_sizes[0])
    else:
        with pytest.raises(SampleError, match="200 times"):
            run(sample, Full(), "100")


@pytest.mark.parametrize("mode", ["RGBA", "P", "L", "1", "LA", "CMYK"])
def test_every_image_mode_becomes_rgb(mode, tmp_path, run):
    from PIL import Image

    path = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    Image.new(mode, (70, 64)).save(path)
    assert len(run(Sample("a", (path,), "q", {}), Full(), "100", n_new=2).ids) >= 1


def test_a_prompt_beyond_the_model_is_a_failed_sample(make_sample, run):
    sample = make_sample(0)
    long = Sample("l", sample.images, "ab " * 5000, {})
    with pytest.raises(SampleError) as caught:
        run(long, Full(), "100")
    assert caught.value.reason == "too_long"


@pytest.mark.parametrize("after", [1, 2, 3])
@torch.no_grad()
def test_dropping_inside_the_vit(after, adapter, make_sample, reference):
    """Patches dropped after block k were seen by the first k blocks, and by none of the others."""
    from transformers.vision_utils import get_vision_position_ids

    ref = reference(make_sample(3, 2))
    keep = torch.rand(ref.layout.n_visual, generator=torch.Generator().manual_seed(after)) < 0.5
    masks = list(keep.split(list(ref.layout.n_tokens)))
    own = adapter.encode(ref.patches, ref.layout.grids, masks, after=after)
    visual = adapter.model.model.visual
    entered: dict[int, torch.Tensor] = {}
    handles = [
        b.register_forward_pre_hook(lambda m, args, i=i: entered.setdefault(i, args[0]))
        for i, b in enumerate(visual.blocks)
    ]
    _, full_levels = ref.encode()
    for handle in handles:
        handle.remove()
    rows = keep.repeat_interleave(4)
    hidden = entered[after][rows]
    rope = visual.rotary_pos_emb(hidden, get_vision_position_ids(ref.thw, 2, kwargs={})[rows])
    lengths = [4 * int(m.sum()) for m in masks]
    bounds = torch.tensor([0, *lengths]).cumsum(0, dtype=torch.int32)
    taps = list(visual.deepstack_visual_indexes)
    want = [level[keep] for at, level in zip(taps, full_levels, strict=True) if at < after]
    for number in range(after, len(visual.blocks)):
        hidden = visual.blocks[number](hidden, cu_seqlens=bounds, max_seqlen=max(lengths), position_embeddings=rope)
        if number in taps:
            want.append(visual.deepstack_merger_list[taps.index(number)](hidden))
    torch.testing.assert_close(own.tokens, visual.merger(hidden), atol=1e-4, rtol=1e-4)
    for a, b in zip(own.deepstack, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


def test_a_run_that_drops_inside_the_vit_counts_both_lengths(make_sample, run):
    def inside(k):
        return type("Inside", (Patches,), {"vit_depth": property(lambda self: k)})()

    before, later = run(make_sample(4), Patches()), run(make_sample(4), inside(2))
    assert later.kept == before.kept
    assert later.counts.patches == before.counts.patches
    assert later.counts.patches_entered == later.counts.patches_full
    assert later.flops["vit_linear"] > before.flops["vit_linear"]
    assert later.flops["llm_linear"] == before.flops["llm_linear"]
    last = run(make_sample(4), inside(4))
    assert last.flops["vit_linear"] == run(make_sample(4), Full(), "100").flops["vit_linear"]
    assert last.flops["merger"] == before.flops["merger"] and last.kept == before.kept
    with pytest.raises(UserError, match="has 4 blocks"):
        run(make_sample(4), inside(5))


def test_after_the_whole_vit_tokens_are_the_full_ones(adapter, make_sample, reference):
    ref = reference(make_sample(5, 2))
    keep = torch.rand(ref.layout.n_visual, generator=torch.Generator().manual_seed(1)) < 0.5
    masks = list(keep.split(list(ref.layout.n_tokens)))
    own = adapter.encode(ref.patches, ref.layout.grids, masks, after=4)
    tokens, levels = ref.encode()
    torch.testing.assert_close(own.tokens, tokens[keep], atol=1e-4, rtol=1e-4)
    for a, b in zip(own.deepstack, levels, strict=True):
        torch.testing.assert_close(a, b[keep], atol=1e-4, rtol=1e-4)
