"""Our model and tasks in lm-eval: really run through its own command, and equal to our own scores."""

import json
import os
import pickle
import subprocess
import sys

import pytest
import yaml

from tests.conftest import ROOT
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.integrations.engine import Engine
from vtprune_eval.paths import tasks_dir

pytest.importorskip("lm_eval", reason="needs the extra [lm-eval]")
from vtprune_eval.integrations.lm_eval.__main__ import main

LIMIT = 4
TASKS = ("mini-grounding", "mini-doc", "mini-nav")


def entry(*args, cwd, env=None):
    return subprocess.run(
        [sys.executable, "-m", "vtprune_eval.integrations.lm_eval", *map(str, args)],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=600,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "HF_HUB_OFFLINE": "1",
            "HF_DATASETS_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            **(env or {}),
        },
    )


def ours(name: str, cell: tuple[str, str], limit: int = LIMIT):
    """Answers and scores of the first samples by our own pipeline."""
    task, engine = load_task(name), Engine("nano", *cell)
    out = []
    for sample in task.samples[:limit]:
        answer = engine.answer(sample.images, sample.question, sample_id=sample.id, max_new_tokens=task.max_new_tokens)
        out.append((answer.text, task.score(sample, answer.text, answer.frame).value))
    return out


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """One run of its command over all three tasks, with a method that draws at random by the sample's identity."""
    folder = tmp_path_factory.mktemp("lm_eval")
    done = entry(
        "run",
        "--model",
        "vtprune",
        "--model_args",
        "model=nano,method=random,budget=20",
        "--tasks",
        ",".join(TASKS),
        "--limit",
        LIMIT,
        "--output_path",
        "out",
        "--log_samples",
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def results(folder):
    return json.loads(next((folder / "out").rglob("results_*.json")).read_text())


@pytest.mark.parametrize("name", TASKS)
def test_equal_answers_and_scores(finished, name):
    expected = ours(name, ("random", "20"))
    path = next((finished / "out").rglob(f"samples_{name}_*.jsonl"))
    rows = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda r: r["doc_id"])
    assert [r["filtered_resps"][0] for r in rows] == [text for text, _ in expected]
    assert [r["accuracy"] for r in rows] == [score for _, score in expected]
    report = results(finished)["results"][name]
    assert report["accuracy,none"] == pytest.approx(sum(s for _, s in expected) / LIMIT)
    assert report["failure_rate,none"] == 0


def test_the_results_say_what_made_them(finished):
    info = results(finished)["config"]["vtprune"]
    assert info["cell"] == "nano@random@20"
    assert info["identity"]["fingerprint"] == Engine("nano", "random", "20").adapter.identity["fingerprint"]


def test_simple_evaluate_with_an_object():
    import lm_eval
    from lm_eval.tasks import TaskManager

    from vtprune_eval.integrations.lm_eval.model import VtpruneLM

    manager = TaskManager(include_path=str(tasks_dir()), include_defaults=False)
    found = lm_eval.simple_evaluate(
        model=VtpruneLM("nano", "full"), tasks=["mini-doc"], limit=LIMIT, task_manager=manager, bootstrap_iters=0
    )
    expected = ours("mini-doc", ("full", "100"))
    assert found["results"]["mini-doc"]["accuracy,none"] == pytest.approx(sum(s for _, s in expected) / LIMIT)


@pytest.mark.parametrize("name", TASKS)
def test_settings_agree_with_our_definition(name):
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    config = yaml.load((tasks_dir() / name / "lm_eval" / f"{name}.yaml").read_text(), Loader)
    spec = definition(name)
    assert config["task"] == config["dataset_kwargs"]["task"] == name
    assert config["generation_kwargs"]["max_gen_toks"] == spec.max_new_tokens
    assert config["metadata"]["version"] == spec.version


RUN = ["run", "--model", "vtprune", "--tasks", "mini-doc", "--model_args"]


@pytest.fixture
def forwarded(monkeypatch):
    """What is handed to lm-eval's command, which is not executed."""
    from lm_eval._cli import HarnessCLI

    seen = []
    monkeypatch.setattr(HarnessCLI, "execute", lambda self, args: seen.append(args))
    monkeypatch.setattr(sys, "argv", list(sys.argv))
    return seen


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        ("model=nano,method=pixelprun,budget=10", "unknown method 'pixelprun': did you mean 'pixelprune'"),
        ("model=nano,method=random,budget=10,colour=red", "unknown option of a model 'colour'"),
        ("model=nano,method=pixelprune,budget=auto,pixelprune.tua=1", "unknown hyper-parameter of pixelprune 'tua'"),
        ("model=nano,method=random,budget=auto0", "budget"),
        ("model=nano,method=guikv", "guikv does not decide a budget itself: give one, for example budget=10"),
        ("pretrained=Qwen/Qwen9,method=full", "unknown model 'Qwen/Qwen9'"),
    ],
)
def test_mistakes_are_one_sentence(args, sentence, forwarded, capsys):
    assert main([*RUN, args]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line and not forwarded


def test_what_is_forwarded(forwarded):
    for budget in ("100", "5"):
        assert main([*RUN, f"model=nano,method=stride,budget={budget}", "--use_cache", "c", "--include_path", "x"]) == 0
    first, second = forwarded
    assert first.include_path == [str(tasks_dir()), "x"], "ours and the user's"
    assert first.device == "cpu", "not lm-eval's default"
    assert first.use_cache != second.use_cache, "an answer of one cell is never taken for another's"
    assert main([*RUN, "model=nano,method=stride,budget=5", "--use_cache", "c"]) == 0
    assert forwarded[2].use_cache == second.use_cache, "but a repeated run finds its own"
    assert main(["run", "--model", "dummy", "--tasks", "mini-doc", "--use_cache", "c"]) == 0
    assert main(["ls", "tasks"]) == 0
    assert forwarded[4].include_path == [str(tasks_dir())], "our tasks are listed, too"
    assert forwarded[3].use_cache == "c" and forwarded[3].device is None, "other models are left alone"


def test_images_are_read_on_use_and_not_kept(tmp_path, picture):
    import numpy as np
    from PIL import Image

    from vtprune_eval.integrations.lm_eval.images import LazyImage

    path = picture("a", 64, 48)
    true = Image.open(path).convert("RGB")
    lazy = LazyImage(path)
    assert lazy.size == (64, 48) and lazy._im is None
    assert np.array_equal(np.asarray(lazy), np.asarray(true))
    assert lazy.resize((32, 32)).tobytes() == true.resize((32, 32)).tobytes()
    assert lazy.getpixel((3, 4)) == lazy.load()[3, 4] == true.getpixel((3, 4))
    assert lazy._im is None, "nothing was kept"
    again = pickle.loads(pickle.dumps(lazy))
    assert again.filename == str(path) and again.tobytes() == true.tobytes()
    lazy.thumbnail((16, 16))
    true.thumbnail((16, 16))
    assert lazy.tobytes() == true.tobytes()


def test_requests_of_other_tasks(picture):
    from types import SimpleNamespace

    from PIL import Image

    from vtprune_eval.integrations.answers import cut
    from vtprune_eval.integrations.lm_eval.model import VtpruneLM

    lm = VtpruneLM("nano", "full")
    path = picture("b", 96, 64)
    image = Image.open(path).copy()  # no file behind it

    def request(context, settings, **media):
        args = (context, settings, media) if media else (context, settings)
        return SimpleNamespace(args=args, doc={}, task_name="other")

    settings = {"until": [], "max_gen_toks": 8}
    there = lm.generate_until([request("<image>click menu", settings, visual=[image])], disable_tqdm=True)
    here = lm.engine.answer([path], "click menu", sample_id="any", max_new_tokens=8)
    assert there == [here.text]
    with pytest.raises(UserError, match="do_sample"):
        lm.generate_until([request("x", {"do_sample": True}, visual=[image])], disable_tqdm=True)
    with pytest.raises(UserError, match="about images"):
        lm.generate_until([request("x", settings)], disable_tqdm=True)
    with pytest.raises(UserError, match="likelihoods"):
        lm.loglikelihood([])
    with pytest.raises(UserError, match="one at a time"):
        VtpruneLM("nano", "full", batch_size=8)
    assert cut("click 3 4\nclick 5 6", ["\n"]) == "click 3 4"
    assert cut("click 3 4", ["\n", ""]) == "click 3 4"


def test_frames(tmp_path):
    from vtprune_eval.integrations.answers import Said
    from vtprune_eval.integrations.lm_eval import tasks

    doc = tasks.load("mini-grounding")["test"][0]
    box = json.loads(doc["target"])["box_xyxy"]
    sample = load_task("mini-grounding").samples[0]
    from PIL import Image

    width, height = Image.open(sample.images[-1]).size
    centre = ((box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height)
    in_hundredths = f"click {100 * centre[0]:.2f} {100 * centre[1]:.2f}"
    in_thousandths = f"click {1000 * centre[0]:.1f} {1000 * centre[1]:.1f}"
    frame = {"coordinates": "thousandths", "model_sizes": [[width, height]], "file_sizes": [[width, height]]}
    assert tasks.process_results(doc, [in_hundredths])["accuracy"] == 1
    assert tasks.process_results(doc, [in_thousandths])["accuracy"] == 0
    assert tasks.process_results(doc, [Said(in_thousandths, frame)])["accuracy"] == 1
    other = tasks.load("mini-grounding", coordinates="thousandths")["test"][0]
    assert tasks.process_results(other, [in_thousandths])["accuracy"] == 1
    assert tasks.process_results(doc, [Said("", failed="bad_image")]) == {
        "accuracy": 0,
        "format_error_rate": 0,
        "failure_rate": 1,
    }
    assert tasks.process_results(doc, ["no"])["format_error_rate"] == 1
    with pytest.raises(UserError, match="unknown frame of coordinates 'pixels'"):
        tasks.load("mini-grounding", coordinates="pixels")
    said = pickle.loads(pickle.dumps(Said("a", frame)))
    assert said == "a" and said.frame == frame


def test_names_of_the_hub_and_of_cells(forwarded):
    assert main([*RUN, "pretrained=Qwen/Qwen3-VL-2B-Instruct,method=pixelprune"]) == 0
    assert main([*RUN, "model=nano@guikv@10,dtype=bfloat16"]) == 0
    assert main([*RUN, "model=nano,weights=random"]) == 0
    assert [a.model_args["model"] for a in forwarded] == [
        "Qwen3-VL-2B-Instruct@pixelprune@auto",
        "nano@guikv@10",
        "nano@full@100@random",
    ]
    assert forwarded[1].model_args["dtype"] == "bfloat16", "results and their folder are named by the cell"


def test_examples_of_other_samples_are_refused(forwarded, capsys):
    from types import SimpleNamespace

    from PIL import Image

    from vtprune_eval.integrations.lm_eval.model import VtpruneLM

    assert main([*RUN, "model=nano", "--num_fewshot", "2"]) == 2
    assert "an example would bring its annotation and no image" in capsys.readouterr().err
    request = SimpleNamespace(
        args=("<image>a\n<image>b", {"until": []}, {"visual": [Image.new("RGB", (64, 64))]}), doc={}, task_name="t"
    )
    with pytest.raises(UserError, match="places for 2 images and 1 come with it"):
        VtpruneLM("nano").generate_until([request], disable_tqdm=True)


def test_failures_are_not_cached_and_limits_have_aliases(monkeypatch, picture):
    from types import SimpleNamespace

    from PIL import Image

    from vtprune_eval.errors import SampleError
    from vtprune_eval.integrations.lm_eval.model import VtpruneLM

    lm, seen, kept = VtpruneLM("nano"), [], []
    answer = lm.engine.answer

    def watched(*args, max_new_tokens, **kwargs):
        seen.append(max_new_tokens)
        if max_new_tokens == 9:
            raise SampleError("out_of_memory", "no memory")
        return answer(*args, max_new_tokens=min(max_new_tokens, 4), **kwargs)

    monkeypatch.setattr(lm.engine, "answer", watched)
    monkeypatch.setattr(lm.cache_hook, "add_partial", lambda kind, args, said: kept.append(said))
    image = Image.open(picture("a", 96, 64))
    for settings in ({"max_new_tokens": 7}, {"max_tokens": 8}, {"max_completion_tokens": 9}, {"max_gen_toks": 5}, {}):
        request = SimpleNamespace(args=("<image>click", {"until": [], **settings}, {"visual": [image]}), doc={})
        request.task_name = "t"
        lm.generate_until([request], disable_tqdm=True)
    assert seen == [7, 8, 9, 5, 256], "lm-eval's own default is 256"
    assert len(kept) == 4, "what failed is tried again"
    costs = lm.get_model_info()["vtprune"]["costs"]
    assert (costs["n_answered"], costs["n_failed"], costs["visual_kept_pct"]) == (4, 1, 100)


def test_images_stay_where_the_text_has_them():
    from vtprune_eval.integrations.answers import prompt_of
    from vtprune_eval.integrations.lm_eval.model import VtpruneLM
    from vtprune_eval.turns import IMAGE_AT

    assert prompt_of("<image><image>which?", 2) == "which?", "images first need no marks"
    assert prompt_of("What is in <image> and <image>?", 2) == f"What is in {IMAGE_AT} and {IMAGE_AT}?"
    adapter = VtpruneLM("nano").engine.adapter
    ids, spans = adapter.prompt_ids([2, 3], f"click {IMAGE_AT} menu {IMAGE_AT} save")
    front, front_spans = adapter.prompt_ids([2, 3], "click  menu  save")
    assert spans[0][0] > front_spans[0][0] and spans[1][0] > spans[0][1] + 2
    assert [b - a for a, b in spans] == [2, 3] and sorted(set(ids)) == sorted(set(front))
    assert adapter.prompt_ids([2], f"a {IMAGE_AT} b {IMAGE_AT}")[1] == [(front_spans[0][0], front_spans[0][0] + 2)], (
        "marks that do not fit are text"
    )
