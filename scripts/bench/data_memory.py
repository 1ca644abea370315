"""Memory of a big data set: 200,000 synthetic records in an original format, read, prompted and scored once.

Run: ``python scripts/bench/data_memory.py [--records N] [--format aitw|agentnetbench|screenspot_pro|all]``. Each
format is measured in a process of its own; the number is the peak resident memory above that of the same process after
all imports, in MB. The promise is 300 MB for 200,000 records; the exit code is 1 above it.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

LIMIT_MB = 300
STEPS_PER_EPISODE = 10
BOXES = [round(0.001 * i, 3) for i in range(120)]


def write_aitw(folder: Path, n: int) -> None:
    """SeeClick's single file: episodes of ten steps, thirty boxes each."""
    step = {
        "goal": "open the settings of the phone",
        "action_type_id": 4,
        "action_type_text": "click",
        "touch": [0.5, 0.5],
        "lift": [0.5, 0.5],
        "type_text": "",
        "annot_position": BOXES,
        "action_addition": "",
    }
    with (folder / "aitw_data_test.json").open("w") as out:
        out.write('{"general": [')
        for e in range(n // STEPS_PER_EPISODE):
            steps = [
                {"ep_id": f"{e:06d}", "img_filename": f"general/{e:06d}_{i}", **step} for i in range(STEPS_PER_EPISODE)
            ]
            out.write(("," if e else "") + json.dumps(steps))
        out.write("]}")


def write_agentnetbench(folder: Path, n: int) -> None:
    """One file per task of a hundred steps with the long texts that the real ones have."""
    box = {"category_id": 1, "rel_bbox": [0.4, 0.4, 0.2, 0.1], "abs_bbox": [1, 2, 3, 4], "area": 12}
    click = {"type": "click", "params": {"position": {"x": 0.5, "y": 0.45}}, "metadata": {"bboxes": [box]}}
    words = {"observation": "word " * 100, "thought": "word " * 100, "low_level_instruction": "Click the button."}
    for t in range(n // 100):
        steps = [
            {
                "step_num": i,
                "image": f"t{t}_{i}.png",
                "action": "",
                "milestone": False,
                "inner_monologue": words,
                "ground_truth_actions": [click],
            }
            for i in range(100)
        ]
        (folder / f"t{t:05d}.json").write_text(
            json.dumps({"task_id": f"t{t:05d}", "high_level_task_description": "do it", "steps": steps})
        )


def write_screenspot_pro(folder: Path, n: int) -> None:
    """Annotation files of a thousand records."""
    (folder / "annotations").mkdir()
    for f in range(n // 1000):
        rows = [
            {
                "img_filename": f"app/{f}_{i}.png",
                "bbox": [1, 2, 30, 40],
                "instruction": "press the button",
                "instruction_cn": "x" * 20,
                "id": f"app_{f}_{i}",
                "application": "app",
                "platform": "linux",
                "img_size": [1920, 1080],
                "ui_type": "icon",
                "group": "CAD",
            }
            for i in range(1000)
        ]
        (folder / "annotations" / f"f{f:04d}.json").write_text(json.dumps(rows))


FORMATS: dict[str, Callable[[Path, int], None]] = {
    "aitw": write_aitw,
    "agentnetbench": write_agentnetbench,
    "screenspot_pro": write_screenspot_pro,
}


def peak_mb() -> float:
    """Highest resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(name: str, folder: Path) -> None:
    """In the measured process: import everything, then read, prompt and score every record; prints JSON."""
    from vtprune_eval import cli  # noqa: F401 - their memory is not the data's
    from vtprune_eval.benchmarks.tasks import load_task
    from vtprune_eval.runner import execute as run  # noqa: F401
    from vtprune_eval.runner import spec  # noqa: F401 - their memory is not the data's

    base, start = peak_mb(), time.perf_counter()
    task = load_task(name, data_path=str(folder), style="qwen3_vl")
    loaded, t_load = peak_mb(), time.perf_counter() - start
    frame = {"file_sizes": [(1080, 2400)], "model_sizes": [(1080, 2400)], "coordinates": "thousandths"}
    answer = '<tool_call>{"name": "x", "arguments": {"action": "click", "coordinate": [500, 500]}}</tool_call>'
    total = sum(task.score(sample, answer, frame).value or 0.0 for sample in task.samples)
    print(
        json.dumps(
            {
                "records": len(task.samples),
                "score": total,
                "base_mb": base,
                "load_mb": loaded - base,
                "peak_mb": peak_mb() - base,
                "load_s": t_load,
                "all_s": time.perf_counter() - start,
            }
        )
    )


def main() -> int:
    """Write, measure, compare with the promise."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", type=int, default=200_000, help="how many (default 200,000)")
    parser.add_argument("--format", choices=(*FORMATS, "all"), default="all")
    parser.add_argument("--measure", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure(given.measure[0], Path(given.measure[1]))
        return 0
    worst = 0.0
    for name in FORMATS if given.format == "all" else (given.format,):
        with tempfile.TemporaryDirectory() as folder:
            FORMATS[name](Path(folder), given.records)
            size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
            done = subprocess.run(
                [sys.executable, __file__, "--measure", name, folder], check=True, capture_output=True, text=True
            )
        found = json.loads(done.stdout)
        worst = max(worst, found["peak_mb"])
        print(
            f"{name}: {found['records']} records, {size / 1e6:.0f} MB of JSON; above {found['base_mb']:.0f} MB of "
            f"imports: {found['load_mb']:.0f} MB loaded, {found['peak_mb']:.0f} MB at most; {found['load_s']:.1f} s "
            f"to load, {found['all_s']:.1f} s in all"
        )
    print(f"at most {worst:.0f} MB, promised {LIMIT_MB} MB")
    return int(worst > LIMIT_MB)


if __name__ == "__main__":
    raise SystemExit(main())
