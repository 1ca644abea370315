"""FocusUI's recipe: losses of the scorer and of the action head, and a trained marker (arXiv 2601.03928)."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..budget import Budget
from ..clock import StageClock
from ..errors import SampleError, UserError
from ..methods.focusui import MARKER, SCORER_FILE, FocusUI
from ..methods.kernels.labels import block_weights, box_coverage, saliency_label
from ..methods.kernels.scorer import Scorer, load_scorer, saliency_loss
from ..models.base import VlmAdapter
from ..pipeline.generate import Pipeline
from ..pipeline.packed import Answered, Packed, enter_together, look_at
from ..sample import Sample, target_box
from .losses import action_loss

if TYPE_CHECKING:
    from .learner import Learner

# Section 3.1: weight of the box against the UI graph.
BOX_SHARE = 0.8


@dataclass
class Recipe:
    """What is learnt beside the answers.

    Attributes:
        method: of the loop.
        scorer: its own module, so that what is selected follows what is learnt; None where the scorer is not trained.
        weights: of the losses ``saliency`` and ``action``, 0 for none.
    """

    method: FocusUI
    scorer: Scorer | None
    weights: Mapping[str, float]

    def losses(
        self,
        learner: Learner,
        questions: Sequence[Answered],
        packed: Packed | None,
        sources: Sequence[Tensor],
        hidden: Tensor | None,
    ) -> dict[str, Tensor]:
        """Sums over the questions.

        Args:
            learner: of them.
            questions: before the first decoder layer.
            packed: their sequence, None where the decoder is not run.
            sources: see :meth:`Learner._sources`.
            hidden: after the final norm, ``(1, n, dim)``, None where the decoder is not run.
        """
        out: dict[str, Tensor] = {}
        if self.weights.get("saliency"):
            out["saliency"] = torch.stack([self._saliency(learner.pipeline, q) for q in questions]).sum()
        if self.weights.get("action") and packed is not None and hidden is not None:
            shares = [learner.adapter.shares(hidden[0, end], own)  # type: ignore[attr-defined]
                      for end, own in zip(packed.prompt_end, sources, strict=True)]  # fmt: skip
            out["action"] = torch.stack(
                [action_loss(s, covered(q).to(s.device)) for s, q in zip(shares, questions, strict=True)]
            ).sum()
        return out

    def weighted(self, losses: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of :meth:`losses`."""
        return torch.stack([self.weights[name] * value.float() for name, value in losses.items()]).sum()

    def _saliency(self, pipeline: Pipeline, question: Answered) -> Tensor:
        entered, device = question.entered, question.begun.state.hidden.device
        present, ids = entered.present.to(device), entered.prompt.ids.to(device)
        scores = self.method.scores(pipeline.token_view(self.method, entered, present, ids))
        return saliency_loss(scores, saliency_target(question).to(device)[present])


def saliency_target(question: Answered) -> Tensor:
    """The paper's label of every visual token of the full prompt, float32 ``(n_visual,)``.

    The box belongs to the last image; other images have their UI graph alone.
    """
    layout = question.entered.prompt.layout
    block = layout.merge_size * layout.patch_size
    parts = []
    for number, image in enumerate(question.entered.prompt.pixels):
        rows, cols = layout.grids[number]
        last = number == len(layout.grids) - 1
        box = box_coverage(_box(question), rows, cols, block) if last else None
        parts.append(saliency_label(box, block_weights(image, block, layout.patch_size), BOX_SHARE).reshape(-1))
    return torch.cat([torch.from_numpy(p).float() for p in parts])


def covered(question: Answered) -> Tensor:
    """Which of the kept visual tokens (markers left out) touch the target's box, bool ``(n_kept,)``."""
    layout = question.entered.prompt.layout
    block = layout.merge_size * layout.patch_size
    rows, cols = layout.grids[-1]
    touched = torch.zeros(sum(layout.n_tokens), dtype=torch.bool)
    touched[-rows * cols :] = torch.from_numpy(box_coverage(_box(question), rows, cols, block).reshape(-1) > 0)
    places = torch.zeros(layout.n_prompt, dtype=torch.bool)
    places[torch.cat([torch.arange(a, b) for a, b in layout.spans])] = touched
    state = question.begun.state
    return places.to(state.index.device)[state.index[state.deepstack_rows]]


def _box(question: Answered) -> tuple[float, ...]:
    """The target in pixels of the last image as the model sees it."""
    entered = question.entered
    box = target_box(entered.sample.target)
    if box is None:
        raise UserError(
            f'sample {entered.sample.id} has no box, which the saliency and action losses need; give it "box_xyxy", or '
            "leave --saliency and --action out."
        )
    (width, height), (fw, fh) = entered.prompt.layout.image_sizes[-1], entered.file_sizes[-1]
    return (box[0] * width / fw, box[1] * height / fh, box[2] * width / fw, box[3] * height / fh)


def trainable_scorer(method: FocusUI, adapter: VlmAdapter, folder: Path) -> tuple[FocusUI, Scorer]:
    """The method with a scorer of its own in ``folder``, and that scorer's module: the object that selection uses.

    It starts from the scorer that the method names, or, where there is none, from random weights.
    """
    file = folder / SCORER_FILE
    width = adapter.text.embed_tokens.weight.shape[1]
    kind = (width, adapter.dtype, adapter.device)
    if not file.exists():
        source = adapter.folder / SCORER_FILE if adapter.folder is not None else None
        if method.scorer not in {"auto", "random"}:
            source = Path(method.scorer)
        if source is not None and source.exists():
            start = load_scorer(source, *kind)
        else:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                start = Scorer(width)
        write_scorer(start.state_dict(), file)
    own = dataclasses.replace(method, scorer=str(file))
    load_scorer.cache_clear()
    return own, load_scorer(file, *kind).requires_grad_(True).train()


def write_scorer(state: Mapping[str, Tensor], file: Path) -> None:
    """Write a scorer's state in the published layout."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"patch_scorer.{k}": v.detach().float().cpu().contiguous() for k, v in state.items()}, file)


def add_marker(adapter: VlmAdapter, start: str = "keep") -> int:
    """Id of the marker's token; where the tokenizer lacks it, it is added.

    A new row is the mean of the vocabulary's, as in the released training.

    Args:
        adapter: the model.
        start: ``vocabulary`` sets a row that is there to that mean, too.

    Raises:
        UserError: no row is free.
    """
    tokenizer, table = adapter.tokenizer, adapter.text.embed_tokens
    new = MARKER not in tokenizer.get_vocab()
    if new:
        tokenizer.add_tokens([MARKER], special_tokens=True)
        if len(tokenizer) > table.weight.shape[0]:
            raise UserError(
                f"{adapter.name}: the vocabulary has no free row for {MARKER}; add the token to the folder's tokenizer "
                "and enlarge the embedding first (resize_token_embeddings of transformers)."
            )
    number = int(tokenizer.convert_tokens_to_ids(MARKER))
    if new or start == "vocabulary":
        with torch.no_grad():
            table.weight[number] = table.weight[:number].float().mean(0).to(table.weight.dtype)
    return number


@torch.no_grad()
def start_at_runs(means: Pipeline, marker: int, asked: Iterable[tuple[Sample, Budget | None]]) -> int:
    """Set the marker's row to the mean of what markers replace: of the means of all dropped runs of some samples.

    Args:
        means: a pipeline whose ``focusui`` puts the mean of a run in its place (``marker=mean``).
        marker: id of its token.
        asked: samples, and their drawn budgets.

    Returns:
        The number of runs.

    Raises:
        UserError: no sample of them drops anything.
    """
    adapter, clock, found = means.adapter, StageClock(*means.adapter.devices), []
    for sample, budget in asked:
        try:
            looked = look_at(means if budget is None else means.at(budget), sample, clock)
        except SampleError:
            continue  # the training leaves it out, and says so
        entered = enter_together([looked])[0]
        state = looked.pipeline.begin(entered, looked.budgets, clock).state
        markers = state.visual.clone()
        markers[state.deepstack_rows] = False
        found.append(state.hidden[0, markers].float())
    rows = torch.cat(found) if found else torch.zeros(0, 1)
    if not len(rows):
        raise UserError("--marker-start runs: the first samples drop no token; lower --budget, or leave it out.")
    table = adapter.text.embed_tokens
    table.weight[marker] = rows.mean(0).to(table.weight.dtype)
    return len(rows)
