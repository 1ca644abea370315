"""What the kit keeps of an answer is its text: frames and costs survive ``--reuse``, and failures are tried again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.integrations import kit_data

pytest.importorskip("vlmeval", reason="needs the extra [vlmeval]")

# A model that is right and says so in thousandths, as the hub's models do; its second sample fails while told to.
SCRIPT = """
import json, sys
from pathlib import Path
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import SampleError
from vtprune_eval.image_file import image_size
from vtprune_eval.integrations.engine import Engine
from vtprune_eval.integrations.vlmeval.__main__ import main

samples = {s.id: s for s in load_task("mini-grounding").samples}
answer, calls, failing = Engine.answer, [], []

def right(self, images, question, *, sample_id=None, **kwargs):
    calls.append(sample_id)
    if failing and sample_id == list(samples)[1]:
        raise SampleError("out_of_memory", "no memory")
    found = answer(self, images, question, sample_id=sample_id, **kwargs)
    if sample_id not in samples:
        return found
    x1, y1, x2, y2 = samples[sample_id].target["box_xyxy"]
    width, height = image_size(images[-1])
    text = f"click {500 * (x1 + x2) / width:.0f} {500 * (y1 + y2) / height:.0f}"
    return type(found)(text, {**found.frame, "coordinates": "thousandths"}, found.outcome)

Engine.answer = right
out = []
for step in json.loads(sys.argv[1]):
    failing[:], calls[:] = (["yes"] if step.get("failing") else []), []
    try:
        code = main([*step["args"], "--work-dir", "out", "--judge", "exact_matching"])
    except SystemExit as error:
        code = error.code
    score = sorted(Path("out").rglob("*mini-grounding_score.json"), key=lambda p: p.stat().st_mtime)[-1]
    out.append({"code": code, "calls": len(calls), "score": json.loads(score.read_text())})
Path("steps.json").write_text(json.dumps(out))
"""


def steps(folder, plan, env=None):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(plan)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", **(env or {})},
    )
    assert (folder / "steps.json").exists(), done.stderr[-3000:]
    return json.loads((folder / "steps.json").read_text()), done


def test_reuse_keeps_frames_and_tries_failures_again(tmp_path):
    data = tmp_path / "LMUData"
    data.mkdir()
    kit_data.docvqa(data)
    run = ["--model", "nano@full", "--data", "mini-grounding", "DocVQA_VAL"]
    (first, more, again, healed), done = steps(
        tmp_path,
        [
            {"args": [*run, "--limit", "2"]},
            {"args": [*run, "--limit", "4", "--reuse"]},
            {"args": ["--model", "nano@stride@50", *run[2:], "--limit", "3"], "failing": True},
            {"args": ["--model", "nano@stride@50", *run[2:], "--limit", "3", "--reuse"]},
        ],
        {"LMUData": str(data), "VTPRUNE_EVAL_LOCAL_TSV": "1"},
    )
    assert [s["score"]["Overall"] for s in (first, more)] == [100, 100], done.stderr[-2000:]
    assert (first["calls"], more["calls"]) == (4, 3), "two new ones of ours, one of the kit's three rows"
    assert again["score"]["Overall"] == pytest.approx(200 / 3) and healed["score"]["Overall"] == 100
    assert healed["calls"] == 1
    from vtprune_eval.integrations.vlmeval.datasets import read_predictions

    found = [p for p in (tmp_path / "out").rglob("*_DocVQA_VAL.xlsx") if not p.is_symlink()]
    for row in (row for path in found for row in read_predictions(str(path))):
        assert "{" not in row["prediction"] and "extra_records" not in row
    (lines,) = (p.read_text().splitlines() for p in (tmp_path / "out").rglob("nano@full_mini-grounding_vtprune.jsonl"))
    head, *answers = map(json.loads, lines)
    assert head["made_by"]["cell"] == "nano@full@100" and head["made_by"]["identity"]["trained"]
    assert {"frame", "counts", "times", "flops", "kv_bytes"} <= set(answers[0])


def test_random_weights_stand_in_the_name(tmp_path):
    options = ["--vtprune", "weights=random", "--vtprune", "max_pixels=40960"]
    (step,), _ = steps(
        tmp_path,
        [
            {"args": ["--model", "nano@full", "--data", "mini-grounding", "--limit", "1", *options]},
        ],
    )
    assert step["code"] in (0, None)
    (path,) = (tmp_path / "out").rglob("*_vtprune.jsonl")
    assert path.name == "nano@full@random_mini-grounding_vtprune.jsonl"
    made_by = json.loads(path.read_text().splitlines()[0])["made_by"]
    assert made_by["cell"] == "nano@full@100@random" and made_by["pixels"]["max"] == 40960


ANOTHER = """
from .image_base import ImageBaseDataset
from .mmlongbenchdoc import *  # DUDE needs its helpers


class MMLongBench(ImageBaseDataset):
    TYPE = "VQA"
    DATASET_URL = {"MMLongBench_32K": ""}

    @classmethod
    def supported_datasets(cls):
        return ["MMLongBench_32K"]
"""


def checkout(folder: Path) -> Path:
    """The installed kit in the shape of its main branch: ``run.py`` at the root and without ``--limit``, the class of
    MMLongBench-Doc renamed, its old name that of another benchmark."""
    import vlmeval

    package, kit = Path(vlmeval.__file__).parent, folder / "kit"
    (kit / "vlmeval" / "dataset").mkdir(parents=True)
    for entry in package.iterdir():
        if entry.name not in ("run.py", "dataset", "__pycache__", "__main__.py"):
            (kit / "vlmeval" / entry.name).symlink_to(entry)
    for entry in (package / "dataset").iterdir():
        if entry.name not in ("mmlongbench.py", "__init__.py", "__pycache__"):
            (kit / "vlmeval" / "dataset" / entry.name).symlink_to(entry)
    old = (package / "dataset" / "mmlongbench.py").read_text()
    (kit / "vlmeval" / "dataset" / "mmlongbenchdoc.py").write_text(
        old.replace("class MMLongBench(", "class MMLongBenchDoc(")
    )
    (kit / "vlmeval" / "dataset" / "mmlongbench.py").write_text(ANOTHER)
    listed = (package / "dataset" / "__init__.py").read_text()
    listed = listed.replace(
        "from .mmlongbench import MMLongBench\n",
        "from .mmlongbench import MMLongBench\nfrom .mmlongbenchdoc import MMLongBenchDoc\n",
    ).replace("TableVQABench, MMLongBench,", "TableVQABench, MMLongBench, MMLongBenchDoc,")
    (kit / "vlmeval" / "dataset" / "__init__.py").write_text(listed)
    run = (package / "run.py").read_text()
    at = run.index("parser.add_argument('--limit'")
    end = run.index("parser.add_argument(", at + 1)
    run = run[:at] + run[end:]
    (kit / "run.py").write_text(run.replace("limit=args.limit", "limit=None").replace("args.limit", "None"))
    return kit


def test_a_git_checkout_of_the_kit(tmp_path):
    data = tmp_path / "LMUData"
    data.mkdir()
    kit_data.mmlongbench(data)
    kit = checkout(tmp_path)
    env = {"LMUData": str(data), "VTPRUNE_EVAL_LOCAL_TSV": "1", "PYTHONPATH": f"{kit}{os.pathsep}{ROOT}"}
    args = ["--model", "nano@full", "--data", "mini-grounding", "MMLongBench_DOC", "--limit", "2"]
    (step,), done = steps(tmp_path, [{"args": args}], env)
    assert step["calls"] == 4 and step["score"]["Overall"] == 100, done.stderr[-2000:]
    (report,) = (p for p in (tmp_path / "out").rglob("*MMLongBench_DOC_score.json") if not p.is_symlink())
    assert json.loads(report.read_text())["judge"] == "none"
    done = subprocess.run(
        [sys.executable, "-c", "from vtprune_eval.integrations.vlmeval.registry import register; register(); "
         "import vlmeval.dataset as d; print([c.__name__ for c in d.DATASET_CLASSES "
         "if 'MMLongBench_32K' in c.supported_datasets()])"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **env},
    )  # fmt: skip
    assert done.stdout.strip().splitlines()[-1] == "['MMLongBench']", done.stderr[-2000:]


def test_another_package_under_the_kits_name_is_one_sentence(tmp_path):
    site = tmp_path / "site"
    (site / "vlmeval").mkdir(parents=True)
    (site / "vlmeval" / "__init__.py").write_text("raise ImportError('must not be imported')\n")
    about = site / "nvidia_vlmeval-26.3.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: nvidia-vlmeval\nVersion: 26.3\n")
    done = subprocess.run(
        [sys.executable, "-m", "vtprune_eval.integrations.vlmeval", "--model", "nano@full", "--data", "mini-doc"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{ROOT}"},
    )
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1, done.stderr
    assert "needs the package ms-vlmeval; nvidia-vlmeval 26.3 has its import name" in done.stderr
