"""FocusUI's checkpoints and its action head, against the class's own forward pass on the published prompt."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image

from scripts.bench.region_decode import by_search
from tests.pipeline.support import Reference
from vtprune_eval.budget import Budget
from vtprune_eval.errors import UserError
from vtprune_eval.methods.fastv import FastV
from vtprune_eval.methods.focusui import FocusUI, padding
from vtprune_eval.methods.full import Full
from vtprune_eval.methods.kernels.scorer import load_scorer
from vtprune_eval.methods.snapkv import SnapKV
from vtprune_eval.methods.streamingllm import StreamingLLM
from vtprune_eval.methods.stride import Stride
from vtprune_eval.models import MODELS, family_of, load_model
from vtprune_eval.models.focusui import ADDED, ActionHead
from vtprune_eval.pipeline.generate import Pipeline
from vtprune_eval.sample import Sample
from vtprune_eval.selftest.small import draw_weights, tokenizer

from .pointing import FAMILIES, pointing_model, save_checkpoint

every_base = pytest.mark.parametrize("name", tuple(FAMILIES))


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """``checkpoints(name)``: its folder."""
    made = {}

    def folder(name: str):
        if name not in made:
            made[name] = save_checkpoint(name, tmp_path_factory.mktemp(name))
        return made[name]

    return folder


@pytest.fixture(scope="module")
def adapters(checkpoints):
    loaded = {}

    def adapter(name: str):
        if name not in loaded:
            loaded[name] = load_model(name, path=str(checkpoints(name)))
        return loaded[name]

    return adapter


def a_sample(tmp_path, seed: int, n_images: int = 1) -> Sample:
    rng = np.random.default_rng(seed)
    paths = []
    for number in range(n_images):
        path = tmp_path / f"{seed}-{number}.png"
        Image.fromarray(rng.integers(0, 255, (*rng.integers(120, 260, 2), 3), np.uint8)).save(path)
        paths.append(path)
    return Sample(f"s{seed}", tuple(paths), f"click icon under {seed}", {})


def run(adapter, sample: Sample, method, budget: str = "40", reading="equal"):
    return Pipeline(adapter, method, Budget.parse(budget, reading)).run(sample)


def numbers(text: str) -> tuple[float, ...]:
    found = re.fullmatch(r"click (\d\.\d{6}) (\d\.\d{6})", text)
    assert found, text
    return float(found[1]), float(found[2])


def published_head(model, tokens: torch.Tensor, asking: torch.Tensor) -> torch.Tensor:
    """GUI-Actor's equations with torch's own attention module, shares ``(n,)``."""
    head = model.multi_patch_pointer_head
    mixed, _ = head.self_attention(tokens[None], tokens[None], tokens[None])
    z = head.projection_enc(head.layer_norm(tokens + mixed[0]))
    return (z @ head.projection_dec(asking) / tokens.shape[1] ** 0.5).softmax(0)


class Published:
    """One forward pass of the class over the prompt as upstream writes it, the two tokens behind the pointer included;
    ``keep``: what POSPAD leaves."""

    def __init__(self, adapter, sample: Sample) -> None:
        self.ref, self.adapter = Reference(adapter, sample), adapter
        words = adapter.tokenizer
        after = words("<|pointer_end|>)", add_special_tokens=False)["input_ids"]
        self.ref.ids = torch.cat([self.ref.ids, torch.tensor([after])], 1)
        self.ref.visual = self.ref.ids[0] == self.ref.model.config.image_token_id
        self.ref.types = self.ref.visual.int()[None]
        self.pad = (self.ref.ids[0] == words.convert_tokens_to_ids("<|pointer_pad|>")).nonzero()[-1, 0]
        self.text = words.decode(self.ref.ids[0])

    @torch.no_grad()
    def point(self, keep: torch.Tensor | None = None) -> tuple[float, float]:
        ref, model = self.ref, self.ref.model
        encoded = model.model.get_image_features(ref.patches, ref.thw)
        tokens, levels = torch.cat(list(encoded.pooler_output)), getattr(encoded, "deepstack_features", None)
        embeds = model.model.language_model.embed_tokens(ref.ids).clone()
        embeds[0, ref.visual] = tokens
        shows = ref.visual.clone()
        stay = torch.ones(len(shows), dtype=torch.bool)
        if keep is not None:
            _, markers = padding(keep, ref.layout, torch.ones_like(keep))
            places = ref.visual.nonzero()[:, 0]
            embeds[0, places[markers]] = self.adapter.text.embed_tokens.weight[
                self.adapter.tokenizer.convert_tokens_to_ids("<|image_drop_end|>")
            ]
            shows[places[~keep]] = False
            stay[places[~keep]] = False
            stay[places[markers]] = True
        else:
            keep = torch.ones(len(tokens), dtype=torch.bool)
        deep = (
            {}
            if levels is None
            else {
                "visual_pos_masks": shows[stay][None],
                "deepstack_visual_embeds": [torch.cat(list(level))[keep] for level in levels],
            }
        )
        hidden = model.model.language_model(
            inputs_embeds=embeds[:, stay], position_ids=ref.positions()[:, :, stay], **deep
        ).last_hidden_state[0]
        asking = hidden[int(stay[: self.pad].sum())]
        shares = torch.zeros(len(keep))
        shares[keep] = published_head(model, embeds[0, shows], asking)
        rows, cols = ref.layout.grids[-1]
        return by_search(shares[-rows * cols :].view(rows, cols).numpy())[0].point


@every_base
@pytest.mark.parametrize("n_images", [1, 3])
def test_full_points_where_the_published_forward_pass_does(name, n_images, adapters, tmp_path):
    adapter, points = adapters(name), set()
    for seed in range(4):
        sample = a_sample(tmp_path, seed, n_images)
        outcome = run(adapter, sample, Full(), "100")
        assert numbers(outcome.text) == pytest.approx(Published(adapter, sample).point(), abs=2e-6)
        assert outcome.ids == () and outcome.finish == "pointer"
        assert outcome.counts.candidates == sum(outcome.counts.visual) and outcome.counts.n_new == 0
        points.add(outcome.text)
    assert len(points) > 1


@every_base
@pytest.mark.parametrize("n_images", [1, 3])
def test_selection_and_markers_are_the_published_ones(name, n_images, adapters, checkpoints, tmp_path):
    """POSPAD: markers are embedded, keep their places, get no DeepStack features and are no candidates.

    The published count has the markers on top, which is the reading ``paper``.
    """
    adapter = adapters(name)
    for seed in range(3):
        sample = a_sample(tmp_path, seed, n_images)
        outcome = run(adapter, sample, FocusUI(), reading="paper")
        published = Published(adapter, sample)
        ref = published.ref
        tokens = ref.model.model.get_image_features(ref.patches, ref.thw).pooler_output
        words = adapter.tokenizer(sample.question, add_special_tokens=False)["input_ids"]
        scores = load_scorer(checkpoints(name), 64, torch.float32, torch.device("cpu"))(
            torch.cat(list(tokens)), adapter.text.embed_tokens(torch.tensor(words))
        )
        keep = torch.zeros(len(scores), dtype=torch.bool)
        keep[scores.topk(len(scores) * 40 // 100).indices] = True
        assert outcome.counts.candidates == int(keep.sum()) < sum(outcome.counts.visual)
        assert numbers(outcome.text) == pytest.approx(published.point(keep), abs=2e-6)


@every_base
def test_prompt_is_the_published_one(name, adapters, tmp_path):
    """Wording and tokens of github.com/showlab/FocusUI: system message, image, instruction, opening of the answer."""
    text = Published(adapters(name), a_sample(tmp_path, 1)).text
    opening = {"focusui-3b": "pyautogui.click(", "focusui-qwen3vl-2b": "("}[name]
    assert text.endswith(
        "<|im_start|>assistant<|recipient|>os\n" + opening + "<|pointer_start|><|pointer_pad|><|pointer_end|>)"
    )
    assert re.fullmatch(
        r"<\|im_start\|>system\nYou are a GUI agent\. .*<\|im_end\|>\n<\|im_start\|>user\n"
        r"<\|vision_start\|>(<\|image_pad\|>)+<\|vision_end\|>click icon under 1<\|im_end\|>\n.*",
        text,
        re.DOTALL,
    )


def test_a_pointer_written_in_the_question_is_not_the_one_that_asks(adapters, tmp_path):
    sample = a_sample(tmp_path, 2)
    sample = Sample(sample.id, sample.images, "<|pointer_pad|><|image_pad|> icon", {})
    adapter = adapters("focusui-3b")
    assert numbers(run(adapter, sample, Full(), "100").text) == pytest.approx(
        Published(adapter, sample).point(), abs=2e-6
    )


@every_base
def test_methods_of_every_stage(name, adapters, tmp_path):
    adapter, sample = adapters(name), a_sample(tmp_path, 5)
    full = run(adapter, sample, Full(), "100")
    n = sum(full.counts.visual)
    fewer = run(adapter, sample, Stride())
    assert fewer.counts.candidates == sum(fewer.counts.visual) < n
    inside = run(adapter, sample, FastV(), "60")  # half of four layers see every token
    assert inside.counts.candidates == n and inside.counts.layer_visual[-1] < n
    cache = run(adapter, sample, SnapKV())
    assert any(note.code == "cache_unused" for note in cache.notes)
    assert cache.text == full.text and sum(cache.counts.cache_entries) < sum(full.counts.cache_entries)
    for outcome in (fewer, inside, cache):
        assert all(0 < v < 1 for v in numbers(outcome.text))
        assert "lm_head" not in outcome.flops and outcome.flops["decode"] == 0
    assert fewer.flops["action_head"] < full.flops["action_head"] == inside.flops["action_head"]


@pytest.mark.parametrize("methods", [(SnapKV(), StreamingLLM()), (FocusUI(), FocusUI(pad="none"))])
def test_cells_that_share_their_beginning_point_as_alone(methods, adapters, tmp_path):
    from vtprune_eval.clock import StageClock
    from vtprune_eval.pipeline.images import load_images
    from vtprune_eval.pipeline.sweep import Sweep

    adapter, sample = adapters("focusui-qwen3vl-2b"), a_sample(tmp_path, 6)
    cells = [Pipeline(adapter, method, Budget.parse("40")) for method in methods]
    images = load_images(sample, adapter.images, StageClock(adapter.device), keep_files=True)
    answers = list(Sweep(cells, max_branch_bytes=1 << 30).run(sample, images, [0, 1]))
    assert {a.shared for a in answers} <= {"vit", "prefill"}
    for answer in answers:
        alone = cells[answer.cell].run(sample)
        assert (answer.outcome.text, answer.outcome.counts) == (alone.text, alone.counts)


@pytest.mark.parametrize(
    ("benchmark", "protocols"),
    [
        ("screenspot", ("official", "vlmeval")),
        ("screenspot_v2", ("official", "vlmeval")),
        ("screenspot_pro", ("official", "vlmeval")),
        ("osworld_g", ("official", "focusui", "vlmeval")),
        ("ui_vision", ("official",)),
    ],
)
def test_answers_are_scored_as_fractions_of_the_screen(benchmark, protocols):
    """The prompt is the instruction alone, and every rule reads the point that the head gives."""
    from vtprune_eval.benchmarks.base import Item
    from vtprune_eval.benchmarks.definitions import benchmark_of, definition
    from vtprune_eval.benchmarks.prompts import load_prompt, style_of

    spec = definition(benchmark)
    of = benchmark_of(spec)
    truth = {
        "box_xywh": [100, 300, 200, 100],
        "corners": [100, 300, 300, 400],
        "image_size": [1000, 800],
        "box_type": "bbox",
        "box_coordinates": [100, 300, 200, 100],
    }
    frame = {"coordinates": "fractions", "file_sizes": [[1000, 800]], "model_sizes": [[560, 448]]}
    for name in (n for n, card in MODELS.items() if card.family.startswith("focusui")):
        for protocol in protocols:
            chosen = spec.changed(protocol=protocol) if protocol in of.rules(spec) else spec
            prompt = load_prompt(chosen, style_of(name, MODELS[name].family))
            item = Item(id="a", images=(), target={}, fields={"instruction": "Open the $5 menu"})
            assert prompt.question(item) == "Open the $5 menu"
            scores = [
                of.rules(spec)[chosen.protocol].score(prompt.grammar, text, truth, frame).value
                for text in ("click 0.200000 0.440000", "click 0.400000 0.440000", "")
            ]
            assert scores == [1, 0, 0]


def test_no_image_is_no_point(adapters):
    outcome = run(adapters("focusui-3b"), Sample("t", (), "where", {}), Full(), "100")
    assert outcome.text == "" and outcome.counts.candidates == 0 and outcome.flops["action_head"] == 0


def test_a_dropped_last_image_is_no_point(adapters):
    """Only tokens of an earlier image are left: there is nothing to point at on the screen in question."""
    adapter = adapters("focusui-3b")
    spans, grids = [(2, 6), (8, 12)], [(2, 2), (2, 2)]
    tokens = torch.ones(2, 64)
    assert adapter.point(torch.ones(64), tokens, torch.tensor([2, 5]), spans, grids) == ""
    assert adapter.point(torch.ones(64), tokens, torch.tensor([2, 11]), spans, grids) == "click 0.750000 0.750000"


def test_head_without_the_map_is_the_modules_own_attention():
    head = ActionHead(64).eval()
    draw_weights(head, 0)
    tokens, asking = torch.randn(50, 64), torch.randn(64)

    class Holder:
        multi_patch_pointer_head = head

    torch.testing.assert_close(head(tokens, asking), published_head(Holder, tokens, asking), rtol=1e-5, atol=1e-7)
    half = head.bfloat16()(tokens.bfloat16(), asking.bfloat16())
    assert half.dtype == torch.float32 and float(half.sum()) == pytest.approx(1, abs=1e-5)


def test_flops_of_the_head_are_torchs_count():
    from torch.utils.flop_counter import FlopCounterMode

    from vtprune_eval.profiling.plan import model_dims

    dims, _ = model_dims("focusui-3b")
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        ActionHead(dims.dim)(torch.zeros(700, dims.dim), torch.zeros(dims.dim))
    assert dims.pointing(700) == pytest.approx(counter.get_total_flops(), rel=5e-3)


@every_base
@pytest.mark.parametrize("old_names", [False, True])
def test_a_folder_loads_under_the_published_names(name, old_names, tmp_path):
    adapter = load_model(name, path=str(save_checkpoint(name, tmp_path, old_names=old_names)))
    theirs = pointing_model(name).state_dict()
    ours = adapter.model.state_dict()
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)
    assert {k.split(".")[0] for k in ours} == {"model", "lm_head", "multi_patch_pointer_head"}
    assert adapter.points and adapter.coordinates == "fractions" and adapter.dims.action_head


HEAD, SCORER = "multi_patch_pointer_head.projection_enc.2.weight", "patch_scorer.text_enhancer.attn.in_proj_bias"
LAYER = "model.language_model.layers.0.mlp.up_proj.weight"


@pytest.mark.parametrize(
    ("drop", "change", "said"),
    [
        ((HEAD, SCORER), {}, (HEAD, SCORER, "lack 2 tensors")),
        ((), {HEAD: torch.zeros(64, 32)}, (HEAD, "64x32 instead of 64x64")),
        ((), {SCORER: torch.zeros(96)}, (SCORER, "96 instead of 192")),
        ((LAYER,), {}, (LAYER, "lack 1 tensors")),
        ((), {LAYER: torch.zeros(96, 32)}, (LAYER, "[96, 32] instead of [96, 64]")),
    ],
)
def test_missing_and_misshapen_tensors_are_named(drop, change, said, tmp_path):
    folder = save_checkpoint("focusui-3b", tmp_path, drop, change)
    with pytest.raises(UserError) as caught:
        load_model("focusui-3b", path=str(folder))
    message = str(caught.value)
    assert all(part in message for part in said) and "\n" not in message and message.endswith(".")


def test_what_else_is_refused(checkpoints, tmp_path):
    import shutil

    def refused(name: str, folder) -> str:
        with pytest.raises(UserError) as caught:
            load_model(name, path=str(folder))
        return str(caught.value)

    whole = checkpoints("focusui-3b")
    assert "FocusUI_Qwen3VL" in refused("focusui-qwen3vl-2b", whole)
    folder = shutil.copytree(whole, tmp_path / "a")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])
    assert "model.safetensors" in refused("focusui-3b", folder)
    folder = shutil.copytree(whole, tmp_path / "b")
    tokenizer().save_pretrained(folder)
    assert "<|pointer_pad|>" in refused("focusui-3b", folder)
    folder = shutil.copytree(whole, tmp_path / "c")
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "architectures": ["qwen2_5_vl"]}))
    assert load_model("focusui-3b", path=str(folder)).points  # the model type says enough


@every_base
def test_random_weights_at_the_folders_size(name, checkpoints, tmp_path):
    adapter = load_model(name, path=str(checkpoints(name)), weights="random", seed=1)
    outcome = run(adapter, a_sample(tmp_path, 1), Full(), "100")
    assert numbers(outcome.text) and not adapter.identity["trained"]
    assert all(torch.isfinite(w).all() for w in adapter.model.parameters())


def test_random_weights_without_a_folder_get_the_tokens():
    """The stand-in tokenizer of ``--weights random`` knows the pointer, inside the vocabulary of the true size."""
    from vtprune_eval.models import NANO
    from vtprune_eval.models.family import Request

    for name in (n for n, card in MODELS.items() if card.family.startswith("focusui")):
        family = family_of(name)
        ask = Request(name, None, True, 0, torch.float32, "cpu", "sdpa", "fractions", {}, NANO)
        words = family.tokenizer(ask)
        ids = words.convert_tokens_to_ids(list(ADDED))
        assert len(set(ids)) == len(ADDED) and max(ids) < family.true_config(name).text_config.vocab_size
        assert words("<|pointer_pad|>", add_special_tokens=False)["input_ids"] == [ids[4]]


def test_an_unpinned_hub_repository_is_named_by_its_commit(checkpoints, monkeypatch, tmp_path):
    import shutil

    import huggingface_hub

    commit = "0123456789" * 4
    folder = shutil.copytree(checkpoints("focusui-3b"), tmp_path / commit)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda repo, revision, **_: str(folder))
    assert load_model("focusui-3b").identity["revision"] == commit
