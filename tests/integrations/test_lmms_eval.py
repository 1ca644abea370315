"""The plug-in for lmms-eval: through its own command where it is installed (`make test-lmms`), else against a stand-in
with the interface of 0.7.3, because its pins and those of our other extras exclude each other."""

import configparser
import importlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tests.conftest import ROOT
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import SampleError, UserError
from vtprune_eval.integrations.engine import Engine

REAL = importlib.util.find_spec("lmms_eval") is not None
YAMLS = ROOT / "vtprune_eval" / "integrations" / "lmms_eval" / "tasks"
TASKS = ("mini-grounding", "mini-doc", "mini-nav")
LIMIT = 3

STAND_IN = {
    "api/instance.py": """
from dataclasses import dataclass


@dataclass
class TokenCounts:
    input_tokens: int = None
    output_tokens: int = None


@dataclass
class GenerationResult:
    text: str
    token_counts: TokenCounts = None
""",
    "api/model.py": """
class lmms:
    def __init__(self):
        self.task_dict = {}
""",
    "api/task.py": """
class ConfigurableTask:
    def __init__(self, config, model_name=None):
        assert "class" not in config
        self.config = config
        self.download(config["dataset_kwargs"])
""",
    "models/registry_v2.py": """
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelManifest:
    model_id: str
    simple_class_path: str = None
""",
}


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """The plug-in's module of the model, on the real package or the stand-in."""
    before = set(sys.modules)
    if not REAL:
        for name, text in STAND_IN.items():
            path = tmp_path / "site" / "lmms_eval" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for folder in ("", "api", "models"):
            (tmp_path / "site" / "lmms_eval" / folder / "__init__.py").write_text("")
        monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield importlib.import_module("vtprune_eval.integrations.lmms_eval.model")
    for name in set(sys.modules) - before:
        if not REAL and name.startswith(("lmms_eval", "vtprune_eval.integrations.lmms_eval.")):
            del sys.modules[name]


def ours(name, cell):
    task, engine = load_task(name), Engine("nano", *cell)
    out = []
    for sample in task.samples[:LIMIT]:
        answer = engine.answer(sample.images, sample.question, sample_id=sample.id, max_new_tokens=task.max_new_tokens)
        out.append((answer.text, task.score(sample, answer.text, answer.frame).value))
    return out


def config_of(name):
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: loader.construct_scalar(node))
    return yaml.load((YAMLS / f"{name}.yaml").read_text(), Loader)


def found(path):
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def test_the_entry_point_leads_to_the_model(plugin):
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    (line,) = config["options.entry_points"]["lmms_eval.models"].strip().splitlines()
    name, _, target = line.partition(" = ")
    module, _, function = target.partition(":")
    manifest = getattr(importlib.import_module(module), function)()
    assert name == manifest.model_id == "vtprune" and found(manifest.simple_class_path) is plugin.Vtprune
    assert plugin.Vtprune.is_simple
    done = subprocess.run(
        [sys.executable, "-m", "vtprune_eval.integrations.lmms_eval"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert Path(done.stdout.strip()) == YAMLS


def check_equal_answers_and_scores(plugin, name):
    config, spec = config_of(name), definition(name)
    assert config["task"] == config["dataset_kwargs"]["task"] == name
    assert config["generation_kwargs"]["max_new_tokens"] == spec.max_new_tokens
    task = found(config["class"])(config={**config, "class": "x"})
    docs = task.dataset["test"]
    model = plugin.Vtprune("nano", "random", "20")
    model.task_dict = {name: task.dataset}
    to_text, to_visual = found(config["doc_to_text"]), found(config["doc_to_visual"])
    requests = [
        SimpleNamespace(args=(to_text(docs[i]), config["generation_kwargs"], to_visual, i, name, "test"))
        for i in range(LIMIT)
    ]
    said = model.generate_until(requests)
    scores = [found(config["process_results"])(docs[i], [s.text])["accuracy"] for i, s in enumerate(said)]
    assert [(s.text, score) for s, score in zip(said, scores, strict=True)] == ours(name, ("random", "20"))
    assert all(s.token_counts.input_tokens > 0 and s.token_counts.output_tokens > 0 for s in said)
    info = model.get_model_info()["vtprune"]
    assert info["cell"] == "nano@random@20" and info["costs"]["n_answered"] == LIMIT
    assert 15 < info["costs"]["visual_kept_pct"] < 25


def test_failures_and_refusals(plugin, monkeypatch):
    from PIL import Image

    model = plugin.Vtprune("nano@full")
    image = Image.new("RGB", (64, 64))
    model.task_dict = {"t": {"test": [{}]}}

    def ask(context="what?", settings=None, images=(image,)):
        args = (context, settings or {"max_new_tokens": 4}, lambda doc: list(images), 0, "t", "test")
        return model.generate_until([SimpleNamespace(args=args)])[0]

    assert isinstance(ask().text, str)
    with pytest.raises(UserError, match="this request has none"):
        ask(images=())
    with pytest.raises(UserError, match="decoding is greedy"):
        ask(settings={"do_sample": True})
    with pytest.raises(UserError, match="places for 2 images and 1 come"):
        ask("<image> a <image> b")
    with pytest.raises(UserError, match="guikv does not decide a budget itself"):
        plugin.Vtprune("nano", "guikv")
    with pytest.raises(UserError, match="samples are measured one at a time"):
        plugin.Vtprune("nano", batch_size=4)
    for call in (model.loglikelihood, model.generate_until_multi_round):
        with pytest.raises(UserError):
            call([])

    def failing(*args, **kwargs):
        raise SampleError("too_long", "no")

    monkeypatch.setattr(model.engine, "answer", failing)
    said = ask().text
    from vtprune_eval.integrations.rows import process_results

    assert said == "" and process_results({}, [said])["failure_rate"] == 1.0


def _text(said):
    return said if isinstance(said, str) else said[0]


def check_through_its_own_command(tmp_path):
    """No wrapper: its command finds the model by the entry point, and our tasks by --include_path."""
    about = tmp_path / "site" / "plugin-0.dist-info"  # this checkout need not be installed
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: plugin\nVersion: 0\n")
    (about / "entry_points.txt").write_text(
        "[lmms_eval.models]\nvtprune = vtprune_eval.integrations.lmms_eval:manifest\n"
    )
    done = subprocess.run(
        [
            *(
                sys.executable,
                "-m",
                "lmms_eval",
                "--model",
                "vtprune",
                "--tasks",
                ",".join(TASKS),
                "--limit",
                str(LIMIT),
            ),
            *("--model_args", "model=nano,method=random,budget=20", "--include_path", str(YAMLS)),
            *("--output_path", "out", "--log_samples"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}", "HF_HUB_OFFLINE": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for name in TASKS:
        path = next((tmp_path / "out").rglob(f"*samples_{name}.jsonl"))
        rows = sorted((json.loads(line) for line in path.read_text().splitlines()), key=lambda r: r["doc_id"])
        assert [(_text(r["filtered_resps"]), r["accuracy"]) for r in rows] == ours(name, ("random", "20"))


# The one or the other: neither is skipped, because there is nothing that another machine could lack.
if REAL:
    test_through_its_own_command = check_through_its_own_command
else:
    test_equal_answers_and_scores = pytest.mark.parametrize("name", TASKS)(check_equal_answers_and_scores)
