"""The repeat pass of KVzip against one long sequence, and what it must not be combined with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.kvzip import KVzip
from vtprune_eval.pipeline.cache import KVCache
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.registry import make_method


@dataclass(frozen=True)
class Seen(KVzip):
    """KVzip that keeps what it was shown."""

    name: ClassVar[str] = "kvzip"
    shown: ClassVar[list] = []

    def observe_repeat(self, view, again):
        self.shown.append((view, again))
        return super().observe_repeat(view, again)


def test_the_pass_equals_one_long_sequence(adapter, make_sample, monkeypatch):
    """Prompt, instruction and prompt again through the decoder at once give the keys and queries of the second pass."""
    from vtprune_eval.pipeline import prefill as module

    seen = {}

    def spy(adapter_, whole, cache, method, views, original=module.repeated):
        seen["whole"] = whole
        return original(adapter_, whole, cache, method, views)

    monkeypatch.setattr(module, "repeated", spy)
    Seen.shown.clear()
    Pipeline(adapter, Seen(sinks=0), Budget.parse("50"), max_new_tokens=2).run(make_sample(4, 2))
    whole = seen["whole"]
    n = whole.hidden.shape[1]
    with torch.inference_mode():
        words = adapter.tokenizer(KVzip().repeats, add_special_tokens=False)["input_ids"]
        hidden = torch.cat([whole.hidden, adapter.text.embed_tokens(torch.tensor([words])), whole.hidden], 1)
        start = int(whole.positions.max()) + 1
        between = start + torch.arange(len(words)).expand(3, -1)
        positions = torch.cat([whole.positions, between, whole.positions + start + len(words)], 1)
        rope = adapter.text.rotary_emb(hidden, positions[:, None])
        rows = torch.cat([whole.deepstack_rows, whole.deepstack_rows + n + len(words)])
        cache = KVCache(len(adapter.text.layers), 1)
        total = hidden.shape[1]
        mask = torch.full((total, total), float("-inf")).triu(1)[None, None]
        for number, layer in enumerate(adapter.text.layers):
            hidden = layer(hidden, position_embeddings=rope, attention_mask=mask, past_key_values=cache)
            if number < len(whole.deepstack):
                hidden = hidden.index_add(1, rows, whole.deepstack[number][None].repeat(1, 2, 1))
    assert len(Seen.shown) == len(adapter.text.layers)
    for number, (_, again) in enumerate(Seen.shown):
        torch.testing.assert_close(again.keys, cache.entries(number)[0], rtol=1e-4, atol=1e-4)
        assert (again.n_context, again.start, again.end) == (n, 0, n)
        assert again.queries.shape[1] == n + len(words)


def test_the_prompt_may_be_repeated_in_chunks(adapter, make_sample):
    Seen.shown.clear()
    outcome = Pipeline(adapter, Seen(chunk=10), Budget.parse("40"), max_new_tokens=3).run(make_sample(4, 2))
    n = outcome.counts.prompt_full
    chunks = sorted({(a.start, a.end) for _, a in Seen.shown})
    assert chunks == [(s, min(n, s + 10)) for s in range(4, n, 10)]
    assert all(entries < n for entries in outcome.counts.cache_entries)
    full = Pipeline(adapter, Seen(), Budget.parse("100000tok"), max_new_tokens=3).run(make_sample(4, 2))
    assert full.ids == Pipeline(adapter, Seen(), Budget.parse("100"), max_new_tokens=3).run(make_sample(4, 2)).ids


def test_what_cannot_be_repeated_is_refused(adapter, monkeypatch):
    with pytest.raises(UserError, match="dart and kvzip cannot be combined"):
        Pipeline(adapter, [make_method("dart"), make_method("kvzip")], Budget.parse("50"))
    monkeypatch.setattr(type(adapter), "has_cache", lambda self, layer: layer != 1)
    with pytest.raises(UserError, match="linear attention"):
        Pipeline(adapter, make_method("kvzip"), Budget.parse("50"))
