"""Micro's training forward: nano's layers, fused attention for large pages, and the reader heads."""

from __future__ import annotations

import nano.forward as nf
import torch
import torch.nn.functional as F
from nano.forward import _filled, _line, _turn
from torch import Tensor, nn

from .windows import SLOTS

FUSED_FROM = 900  # patches per image from which the fused kernel's backward is the faster one on CPUs


def _fused_vision_layer(x: Tensor, cos: Tensor, sin: Tensor, heads: int, w1: Tensor, b1: Tensor, wqkv: Tensor,
                        bqkv: Tensor, wo: Tensor, bo: Tensor, w2: Tensor, b2: Tensor, up: Tensor, bup: Tensor,
                        down: Tensor, bdown: Tensor) -> Tensor:
    """nano's vision block with scaled_dot_product_attention."""
    n, length, dim = x.shape
    h = F.layer_norm(x, (dim,), w1, b1, 1e-6).bfloat16()
    q, k, v = _line(h, wqkv, bqkv).view(n, length, 3, heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    out = F.scaled_dot_product_attention(_turn(q, cos, sin), _turn(k, cos, sin), v)
    x = x + _line(out.transpose(1, 2).reshape(n, length, dim), wo, bo).float()
    h = F.layer_norm(x, (dim,), w2, b2, 1e-6).bfloat16()
    return x + _line(F.gelu(_line(h, up, bup), approximate="tanh"), down, bdown).float()


def prepare(compiled: bool = True) -> None:
    """Choose the layers' kernels, once per process; ``compiled`` needs a C++ compiler and halves a step's time."""
    plain, fused, text = nf._vision_layer, _fused_vision_layer, nf._text_layer
    if compiled:
        import torch._inductor.config as inductor

        inductor.cpp.dynamic_threads = True  # the number of threads is asked for at run time
        plain, fused, text = (torch.compile(f, dynamic=True) for f in (plain, fused, text))
    nf._vision_layer = lambda x, *rest: (fused if x.shape[1] > FUSED_FROM else plain)(x, *rest)
    nf._text_layer = text


class Reader(nn.Module):
    """Auxiliary heads, dropped after training: what each merge block shows.

    Per 16-px patch the characters whose centres lie in it and the ones before and after them; per block the icon, the
    centre of its target in hundredths, and, where it shows a number, its digits and the first four characters of the
    key that it belongs to.
    """

    def __init__(self, dim: int, n_icons: int, n_digits: int = 4) -> None:
        super().__init__()
        self.inner = nn.Linear(dim, 4 * SLOTS * 37)
        self.outer = nn.Linear(dim, 4 * 2 * 37)
        self.icons = nn.Linear(dim, n_icons + 1)
        self.points = nn.Linear(dim, 2 * 100)
        self.names = nn.Linear(dim, 4 * 37)
        self.digits = nn.Linear(dim, n_digits * 11)

    def read(self, tokens: Tensor, inner: Tensor, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Losses of the characters in the patches and around them, and the logits of the former.

        Args:
            tokens: ``(n, n_blocks, dim)``.
            inner: int64 ``(n, n_blocks, 4, SLOTS)``, 0 for none.
            outer: int64 ``(n, n_blocks, 4, 2)``, 0 for none, -100 for unknown.
        """
        logits = self.inner(tokens).view(*inner.shape, 37)
        around = self.outer(tokens).float().view(-1, 37)
        known = outer.flatten() >= 0
        beside = F.cross_entropy(around[known], outer.flatten()[known]) if known.any() else around.sum() * 0
        return _filled(logits, inner), beside, logits
