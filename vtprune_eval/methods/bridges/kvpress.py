"""``kvpress:NAME``: any scoring press of NVIDIA's kvpress through our cache hook (``kvpress:knorm``, ``kvpress:tova``).

Devoto et al., "Expected Attention", arXiv 2510.00636, describes the library. A press is asked for its scores alone;
window, budget, text, heads and counting are ours, so that its row is comparable with the others. It runs the library's
own code: nothing of it is copied here.

kvpress must be importable beside transformers 5. Release 0.5.5 asks pip for ``transformers<5.3``, and this project
needs 5.20 or later, so install it without its dependencies: ``pip install --no-deps kvpress`` and ``pip install
accelerate "cachetools<6" datasets fire peft``. Beside transformers 5.23.0 its presses knorm, tova, keydiff, lagkv, cur
and snapkv then kept exactly the entries that our own methods of these names keep. The library itself supports no
vision-language model of ours; here it sees one decoder layer at a time.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from ...errors import UserError, unknown_name
from ...plugins import is_subclass
from ..base import LayerView, Method, Room

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "kvpress:"


@dataclass(frozen=True)
class KVPress(Method):
    """Scores of a press of kvpress, by the press's name."""

    name: ClassVar[str] = "kvpress"
    paper: ClassVar[str] = "NVIDIA kvpress (Devoto et al., arXiv 2510.00636), its own code"
    year: ClassVar[int] = 2025
    origin: ClassVar[str] = "port"
    deviations: ClassVar[tuple[str, ...]] = (
        "Only presses that score (ScorerPress); those that compress, merge or spread a budget are refused.",
        "Queries are normalised before the rotation in families that do so; kvpress does that for some classes alone.",
        "Future positions count from the prompt's length, as in kvpress; the model's next position can be another.",
    )

    press: ClassVar[str] = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        press_of(self.press)  # refused before anything is loaded

    def score_kv(self, view: LayerView, room: Room) -> Tensor:
        """See :meth:`Method.score_kv`.

        Raises:
            UserError: the press needs what a layer of this model cannot give.
        """
        cos, sin = view.rope
        hidden = view.hidden_normed[None]
        given = {
            "hidden_states": hidden,
            "position_embeddings": (cos[None], sin[None]),
            "cache_position": torch.arange(hidden.shape[1], device=hidden.device),
        }
        try:
            scores = press_of(self.press)(_module(view), hidden, view.keys[None], view.values[None], None, given)
        except (AssertionError, AttributeError, NotImplementedError, TypeError) as error:
            raise UserError(
                f"kvpress:{self.press} cannot score a layer of this prompt ({type(error).__name__}: {error}); choose a "
                "press that needs no attention maps and a longer prompt or a smaller window."
            ) from error
        rated: Tensor = scores[0]
        return rated.float()


@cache
def bridge(name: str) -> type[KVPress]:
    """The method ``kvpress:NAME``."""
    press = name.removeprefix(PREFIX)
    doc = f"Scores of kvpress' press {press}."
    return type("KVPress", (KVPress,), {"name": name, "press": press, "__module__": __name__, "__doc__": doc})


@cache
def press_of(name: str) -> Callable[..., Any]:
    """The ``score`` method of a press.

    Raises:
        UserError: kvpress cannot be imported, or has no scoring press of that name.
    """
    try:
        kvpress: Any = importlib.import_module("kvpress")
    except Exception as error:  # a version pair that does not fit fails in many ways
        raise UserError(
            f"kvpress:{name} needs the package kvpress, which cannot be imported ({type(error).__name__}: {error}); "
            "pip install --no-deps kvpress, or use this project's own method of that name."
        ) from error
    base = kvpress.ScorerPress
    presses: dict[str, Any] = {
        key.removesuffix("Press").lower(): cls
        for key, cls in vars(kvpress).items()
        if is_subclass(cls, base) and cls is not base
    }
    cls = presses.get(name.replace("-", "").replace("_", "").lower())
    if cls is None:
        raise unknown_name("press", name, presses, "Only presses that score can be used (ScorerPress).")
    if cls.compress is not base.compress:
        raise UserError(f"kvpress:{name} does more than score, which this bridge cannot show; it runs scoring presses.")
    score: Callable[..., Any] = cls().score
    return score


def _module(view: LayerView) -> Any:
    """What a press reads of an attention module."""
    attention = view.attention
    n_q, n_kv, d = view.queries.shape[0], view.keys.shape[0], view.keys.shape[2]

    def q_proj(rows: Tensor) -> Tensor:
        queries: Tensor = attention.q_proj(rows)
        if hasattr(attention, "q_norm"):
            queries = attention.q_norm(queries.view(*rows.shape[:-1], n_q, -1)).flatten(-2)
        return queries

    def rotary(like: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        cos, sin = view.rope_at(places[0])
        return cos[None].to(like.dtype), sin[None].to(like.dtype)

    return SimpleNamespace(
        config=SimpleNamespace(num_attention_heads=n_q, num_key_value_heads=n_kv, hidden_size=view.hidden_in.shape[1]),
        head_dim=d,
        num_key_value_groups=n_q // n_kv,
        layer_idx=view.layer,
        q_proj=q_proj,
        k_proj=getattr(attention, "k_proj", None),
        v_proj=getattr(attention, "v_proj", None),
        rotary_emb=rotary,
    )
