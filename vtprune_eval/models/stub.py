"""A scripted stand-in for a model and its pipeline: the harness's own tests run on it, and a method never does.

Its answers are right for a fixed seven tenths of the samples (chosen by a hash of the sample and the cell), its counts
follow the budget, and it sleeps a fixed time per sample (``VTPRUNE_STUB_DELAY_MS``, default 0).
"""

from __future__ import annotations

import hashlib
import os
import time

from ..budget import Budget
from ..json_values import JsonObject
from ..outcome import Counts, Outcome, Times
from ..sample import Sample
from .identity import ModelIdentity

COORDINATES = "hundredths"
IDENTITY: ModelIdentity = {
    "model": "stub",
    "hub_id": None,
    "architecture": "stub",
    "weights": "scripted",
    "fingerprint": "stub",
    "dtype": "float32",
    "attention": "none",
    "device": "cpu",
    "trained": True,
    "note": "scripted answers",
}


class StubPipeline:
    """The face of :class:`~vtprune_eval.pipeline.generate.Pipeline` without a network behind it."""

    def __init__(self, method: str, budget: Budget) -> None:
        self._method, self._budget = method, budget
        self._delay_s = float(os.environ.get("VTPRUNE_STUB_DELAY_MS", "0")) / 1000

    def run(self, sample: Sample) -> Outcome:
        """A scripted answer with made-up, consistent counts (100 visual tokens per image)."""
        time.sleep(self._delay_s)
        draw = hashlib.sha256(f"{self._method}/{self._budget}/{sample.id}".encode()).digest()[0]
        full = tuple(100 for _ in sample.images)
        n = self._budget.count(sum(full)) if self._budget.is_number else sum(full) // 2
        visual = tuple(n // len(full) + (i < n % len(full)) for i in range(len(full)))
        text = _right_answer(sample.target) if draw < 179 else "nothing useful"
        size = tuple((320, 320) for _ in full)
        length = sum(visual) + 20
        ms = self._delay_s * 1000
        return Outcome(
            text=text,
            ids=(1, 2),
            finish="eos",
            model_sizes=size,
            file_sizes=tuple((100, 100) for _ in full),
            kept=tuple(tuple(range(v)) for v in visual),
            counts=Counts(
                patches_full=tuple(4 * f for f in full),
                patches=tuple(4 * v for v in visual),
                visual_full=full,
                visual=visual,
                n_text=20,
                prompt_full=sum(full) + 20,
                prompt=length,
                layer_tokens=(length,),
                layer_visual=(sum(visual),),
                cache_entries=(length,),
                cache_heads=(1,),
                n_new=2,
            ),
            times=Times(0.0, 0.0, 0.0, 0.0, ms, ms, ms, ms, 2 * ms),
            flops={"total": float(length)},
            kv_bytes=8 * length,
            peak_bytes=1,
            asked=str(self._budget),
            reading=self._budget.reading,
            achieved=100 * sum(visual) / sum(full) if full else None,
        )


def _right_answer(target: JsonObject) -> str:
    if target["type"] == "text":
        return str(target["answers"][0])
    action = target.get("action", {"type": "tap", "box_xyxy": target.get("box_xyxy", [0, 0, 1, 1])})
    if action["type"] == "tap":
        x1, y1, x2, y2 = action["box_xyxy"]
        return f"tap {(x1 + x2) / 2} {(y1 + y2) / 2}"  # the stub calls every file 100x100, so pixels are hundredths
    return {
        "type": f"type {action.get('text')}",
        "scroll": f"scroll {action.get('direction')}",
        "back": "back",
        "finish": "done",
    }[action["type"]]
