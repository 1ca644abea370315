"""Methods that rank visual tokens by the attention which they receive at one block of the ViT."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..base import TokenView, hyper

if TYPE_CHECKING:
    from torch import Tensor


def attended_layer() -> Any:
    """The hyper-parameter ``layer`` of such a method."""
    return hyper("penultimate", "ViT block of the attention: penultimate, mid, last, early, or an index")


class Attended:
    """What such a method asks for; beside :class:`..base.Method`, with a field ``layer``."""

    layer: str

    @property
    def needs(self) -> tuple[str, ...]:
        """Attention received at the chosen block."""
        return (f"encoder_attention:{self.layer}",)

    def received(self, view: TokenView) -> Tensor:
        """Attention received by every token, float32 ``(n,)``; the mean over all patches of an image is 1."""
        return view.extras[self.needs[0]].float()
