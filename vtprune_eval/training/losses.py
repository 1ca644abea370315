"""Losses of a packed sequence, as sums over the tokens of its answers (or over its questions)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of every token of the answers.

    Args:
        logits: ``(n_answer, vocabulary)``.
        labels: int64 ``(n_answer,)``.

    Returns:
        float32 ``(n_answer,)``, not summed.
    """
    return F.cross_entropy(logits.float(), labels, reduction="none")


def distillation_loss(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher || student) of the next-token distributions at temperature 1 (PixelPrune, arXiv 2604.00886: +KD).

    Args:
        student: logits of the same tokens, ``(n_answer, vocabulary)``; the teacher's carry no gradient.
        teacher: logits of the same tokens, ``(n_answer, vocabulary)``; the teacher's carry no gradient.

    Returns:
        float32 ``(n_answer,)``, not summed.
    """
    wanted = teacher.detach().float().log_softmax(-1)
    return F.kl_div(student.float().log_softmax(-1), wanted, reduction="none", log_target=True).sum(-1)


def action_loss(shares: Tensor, covered: Tensor) -> Tensor:
    """KL of the action head against the kept tokens that touch the target (FocusUI, arXiv 2601.03928, after GUI-Actor).

    Args:
        shares: of the kept visual tokens, float ``(n,)``, sum 1.
        covered: bool ``(n,)``, which of them touch the box.

    Returns:
        A number; 0 where nothing that is kept touches the box, so that there is nothing to point at.
    """
    if not bool(covered.any()):
        return shares.sum() * 0
    wanted = covered.float() / covered.sum()
    return (wanted * (wanted.clamp(min=1e-12).log() - shares.float().clamp(min=1e-12).log())).sum()


def first_wrong(losses: Tensor, owner: Tensor) -> int | None:
    """Number of the first question with a loss that is no finite number, None where all are."""
    wrong = ~torch.isfinite(losses)
    return int(owner[wrong][0]) if bool(wrong.any()) else None
