"""Which of the papers' qualitative claims hold on nano and the mini suite: ``python scripts/findings.py``.

Runs the studies below through the command line (resumed where they stopped), then writes ``docs/findings.md`` and, with
``--leaderboard``, the result files and pages under ``leaderboards/``. Everything is one seed, greedy, paired on the
same samples; intervals are paired bootstraps over screens and episodes, p values are Holm-adjusted over all claims.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tabulate import tabulate

from vtprune_eval.commands.options import at_least_one
from vtprune_eval.registry import method_class, method_names
from vtprune_eval.results.compare import adjust, compare
from vtprune_eval.results.stats import mean_interval

ROOT = Path(__file__).resolve().parents[1]
BUDGETS = ("5", "10", "15", "20", "40", "80")
# Two of nano's five decoder layers see every token before FastV's cut: a mean below 40.1 % cannot be met.
DECODER = ("45", "50", "60", "70", "80", "90")
TASKS = ("mini-grounding", "mini-doc", "mini-nav")
# Read the answer or drop nothing: no competitors.
NOT_COMPARED = {"full", "oracle"}
# One study of every method per stage: the methods of a stage share the most work.
STAGES = {
    "before-vit": ("reduce_images", "select_patches", "merge_patches"),
    "after-vit": ("select_tokens",),
    "decoder": ("prune_layer",),
    "kv-cache": ("compress_kv",),
}


@dataclass(frozen=True)
class Study:
    """One run: methods x budgets on tasks, with hyper-parameters; ``whole``: on all samples, whatever the limit, as all
    that a claim is judged by.

    ``reading``: what its budgets count; what is compared with each other is always of one reading.
    """

    methods: tuple[str, ...]
    budgets: tuple[str, ...] = BUDGETS
    tasks: tuple[str, ...] = TASKS
    params: tuple[str, ...] = ()
    whole: bool = False
    reading: str = "equal"


@dataclass(frozen=True)
class Claim:
    """``a`` beats ``b``: (study, method) each, over ``budgets`` and ``tasks``.

    Attributes:
        history: earlier screenshots that a sample must have at least.
        b_budgets: budgets of ``b``, pair by pair, where they are not those of ``a``.
    """

    title: str
    source: str
    a: tuple[str, str]
    b: tuple[str, str]
    budgets: tuple[str, ...]
    tasks: tuple[str, ...] = TASKS
    history: int = 0
    b_budgets: tuple[str, ...] = ()


def methods_of(stage: str) -> tuple[str, ...]:
    """The built-in methods whose last hook belongs to a stage, by name."""
    last = {n: method_class(n).hooks()[-1:] for n, source in method_names().items() if source == "builtin"}
    return tuple(sorted(n for n, hook in last.items() if n not in NOT_COMPARED and set(hook) & set(STAGES[stage])))


def studies() -> dict[str, Study]:
    """Every run of the page by name."""
    few, deep, clicks = ("10", "20", "40"), ("50", "70"), ("mini-grounding",)
    one_screen = ("mini-grounding", "mini-doc")
    # GUIPruner's halves need a history to shrink, or leave it whole: their numbers are the paper's own.
    history = ("guipruner-tar", "random-history")
    before = tuple(m for m in methods_of("before-vit") if m not in history)
    inside = tuple(m for m in methods_of("decoder") if m not in {"guipruner", "guipruner-ssp"})
    return {
        "before-vit": Study(("full", *before)),
        "after-vit": Study(("full", *methods_of("after-vit"))),
        "decoder": Study(("full", *inside), DECODER),
        "ssp": Study(("guipruner-ssp",), DECODER, one_screen),
        "kv-cache": Study(("full", *methods_of("kv-cache"))),
        "auto": Study(("pixelprune", "random", "conncomp", "resize", "stride"), ("auto",)),
        "own-count": Study(("pixelprune", "random", "conncomp"), ("auto",), whole=True),
        "renumbered": Study(("pixelprune",), ("auto",), params=("pixelprune.renumber=true",), whole=True),
        "pospad": Study(("focusui",), few, clicks, whole=True),
        "direct-removal": Study(("focusui",), few, clicks, ("focusui.pad=none",), whole=True),
        "mean-marker": Study(("focusui",), few, clicks, ("focusui.marker=mean",), whole=True),
        "pospad-as-published": Study(("focusui",), few, clicks, whole=True, reading="paper"),
        "full-padding": Study(("focusui",), few, clicks, ("focusui.pad=full",), whole=True, reading="paper"),
        "tar": Study(history, few, ("mini-nav",), whole=True, reading="paper"),
        "tar-uniform": Study(
            ("guipruner-tar",), few, ("mini-nav",), ("guipruner-tar.gamma=1",), whole=True, reading="paper"
        ),
        "ssp-layer-2": Study(("guipruner-ssp",), deep, one_screen, whole=True),
        "ssp-layer-1": Study(("guipruner-ssp",), deep, one_screen, ("guipruner-ssp.after_layer=1",), whole=True),
        "cache": Study(("guikv", "snapkv", "pyramidkv"), ("5", "10", "20"), whole=True),
        "history": Study(("guikv", "snapkv"), ("5", "10", "20"), ("mini-nav",), whole=True),
        "history-spatial": Study(("guikv",), ("5", "10", "20"), ("mini-nav",), ("guikv.rank=0",), whole=True),
        "history-as-published": Study(
            ("guikv", "snapkv"), ("5", "10", "20"), ("mini-nav",), whole=True, reading="paper"
        ),
        "oracle": Study(("oracle",), BUDGETS, ("mini-grounding",)),
    }


CLAIMS = (
    Claim(
        "Kept positions beat renumbered ones",
        "PixelPrune, section 3",
        ("own-count", "pixelprune"),
        ("renumbered", "pixelprune"),
        ("auto",),
    ),
    Claim(
        "PixelPrune beats Random at equal tokens",
        "PixelPrune, section 4.1",
        ("own-count", "pixelprune"),
        ("own-count", "random"),
        ("auto",),
    ),
    Claim(
        "PixelPrune beats ConnComp at equal tokens",
        "PixelPrune, section 4.1",
        ("own-count", "pixelprune"),
        ("own-count", "conncomp"),
        ("auto",),
    ),
    Claim(
        "POSPAD (untrained marker: pad token) beats direct removal at equal tokens, markers charged",
        "FocusUI, section 3.3",
        ("pospad", "focusui"),
        ("direct-removal", "focusui"),
        ("10", "20", "40"),
        ("mini-grounding",),
    ),
    Claim(
        "POSPAD (untrained marker: mean of the run) beats direct removal at equal tokens, markers charged",
        "FocusUI, section 3.3",
        ("mean-marker", "focusui"),
        ("direct-removal", "focusui"),
        ("10", "20", "40"),
        ("mini-grounding",),
    ),
    Claim(
        "POSPAD (untrained marker) is as good as full padding, as published",
        "FocusUI, section 3.3",
        ("pospad-as-published", "focusui"),
        ("full-padding", "focusui"),
        ("10", "20", "40"),
        ("mini-grounding",),
    ),
    Claim(
        "GUI-KV beats SnapKV on one screenshot",
        "GUI-KV, abstract",
        ("cache", "guikv"),
        ("cache", "snapkv"),
        ("5", "10"),
        ("mini-grounding", "mini-doc"),
    ),
    Claim(
        "GUI-KV beats SnapKV with five screenshots",
        "GUI-KV, abstract",
        ("history", "guikv"),
        ("history", "snapkv"),
        ("5", "10", "20"),
        ("mini-nav",),
        history=4,
    ),
    Claim(
        "GUI-KV beats SnapKV with two to five screenshots",
        "GUI-KV, abstract",
        ("history", "guikv"),
        ("history", "snapkv"),
        ("5", "10", "20"),
        ("mini-nav",),
        history=1,
    ),
    Claim(
        "The same as published: b % of the whole prompt, per query head",
        "GUI-KV, abstract",
        ("history-as-published", "guikv"),
        ("history-as-published", "snapkv"),
        ("5", "10", "20"),
        ("mini-nav",),
        history=1,
    ),
    Claim(
        "GUI-KV's temporal part helps (against rank 0)",
        "GUI-KV, ablation",
        ("history", "guikv"),
        ("history-spatial", "guikv"),
        ("5", "10", "20"),
        ("mini-nav",),
        history=1,
    ),
    Claim(
        "A uniform layer budget beats a pyramid",
        "GUI-KV, section on layer budgets",
        ("cache", "snapkv"),
        ("cache", "pyramidkv"),
        ("5", "10", "20"),
    ),
    Claim(
        "TAR beats a uniform history resize",
        "GUIPruner, ablation",
        ("tar", "guipruner-tar"),
        ("tar-uniform", "guipruner-tar"),
        ("10", "20", "40"),
        ("mini-nav",),
        history=2,
    ),
    Claim(
        "SSP after layer 2 beats SSP after layer 1",
        "GUIPruner, section 3",
        ("ssp-layer-2", "guipruner-ssp"),
        ("ssp-layer-1", "guipruner-ssp"),
        ("50", "70"),
        ("mini-grounding", "mini-doc"),
    ),
    Claim(
        "TAR's decay beats random weights of the frames",
        "control",
        ("tar", "guipruner-tar"),
        ("tar", "random-history"),
        ("10", "20", "40"),
        ("mini-nav",),
        history=2,
    ),
)


def command(study: Study, out: Path, limit: int | None) -> list[str]:
    """The command line of a study."""
    args = [
        sys.executable,
        "-m",
        "vtprune_eval",
        "--model",
        "nano",
        "--method",
        ",".join(study.methods),
        "--budget",
        ",".join(study.budgets),
        "--tasks",
        ",".join(study.tasks),
        "--reading",
        study.reading,
        "--out",
        str(out),
        "--format",
        "json",
    ]
    for item in study.params:
        args += ["--set", item]
    return args + (["--limit", str(limit)] if limit and not study.whole else [])


def records(out: Path, task: str, method: str, budget: str) -> list[dict[str, Any]]:
    """Records of one cell."""
    path = out / "records" / f"{task}--{method}@{budget}.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def judged(claim: Claim, folder: Path) -> dict[str, Any]:
    """The claim's paired comparison over its budgets and tasks together."""
    own, other = [], []
    for side, (study, method), budgets in (
        (own, claim.a, claim.budgets),
        (other, claim.b, claim.b_budgets or claim.budgets),
    ):
        for pair, budget in enumerate(budgets):
            for task in claim.tasks:
                for record in records(folder / study, task, method, budget):
                    if record["meta"].get("n_history", 0) >= claim.history:
                        # One id per sample and budget; all budgets of one screen or episode stay one cluster.
                        side.append(
                            {
                                **record,
                                "id": f"{pair}/{task}/{record['id']}",
                                "cluster": f"{task}/{record['cluster'] or record['id']}",
                            }
                        )
    found = compare(own, other)
    assert found is not None
    return {
        **found,
        "claim": claim,
        "own": sum(r["score"] for r in own) / len(own),
        "other": sum(r["score"] for r in other) / len(other),
        "spent": (entries(own), entries(other)),
    }


def entries(own: list[dict[str, Any]]) -> str:
    """What a side spent, means per sample: visual tokens into the decoder, and entries per layer and head."""
    done = [r["counts"] for r in own if r["status"] == "ok"]
    tokens = sum(sum(c["visual"]) for c in done) / len(done)
    held = sum(sum(c["cache_entries"]) / len(c["cache_entries"]) for c in done) / len(done)
    return f"{tokens:.0f}, {held:.0f}"


def percent(cell: list[dict[str, Any]]) -> str:
    """Accuracy of a cell; a dash where the method can meet its budget on no sample."""
    if all(r["status"] != "ok" for r in cell):
        return "-"
    return f"{100 * sum(r['score'] for r in cell) / len(cell):.0f}"


VERDICTS = {
    "better": "holds",
    "worse": "does not hold: the reverse",
    "not distinguishable": "not distinguishable here",
    "equal on every sample": "no difference at all",
}


def page(folder: Path, limit: int | None) -> str:
    """The Markdown page."""
    found = [judged(c, folder) for c in CLAIMS]
    adjust(found)
    rows = []
    for f in found:
        c = f["claim"]
        low, high = f["ci95"]
        rows.append(
            [
                c.title,
                c.source,
                f"{100 * f['own']:.1f} / {100 * f['other']:.1f}",
                " / ".join(f["spent"]),
                f"{100 * f['difference']:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]",
                f["n"],
                f"{f['p_holm']:.2g}",
                VERDICTS[f["verdict"]],
            ]
        )
    claims = tabulate(
        rows,
        [
            "claim",
            "source",
            "accuracy a / b (%)",
            "tokens, entries: a / b",
            "difference (points), 95 % interval",
            "pairs",
            "p (Holm)",
            "on nano + mini",
        ],
        tablefmt="github",
        disable_numparse=True,
    )
    parts = [
        HEAD.format(limit=f", {limit} samples per task (a fixed draw) for the tables by method" if limit else ""),
        claims,
        "",
        "## Accuracy by method and budget",
        "",
        "Per task, in %; `full` is the first row; a dash: the budget cannot be met. Budgets are in the reading `equal` "
        "([budgets](budgets.md)): one number costs every method of a table the same.",
    ]
    every = studies()
    blocks = (("before-vit", "after-vit", "kv-cache", "oracle"), BUDGETS), (("decoder", "ssp"), DECODER)
    for task in TASKS:
        for number, (names, budgets) in enumerate(blocks):
            table = []
            full = [r["score"] for r in records(folder / "kv-cache", task, "full", "100")]
            mean, low, high = mean_interval(full)
            table.append([f"full ({100 * low:.0f} to {100 * high:.0f})", *[f"{100 * mean:.0f}"] * len(budgets)])
            for study in names:
                if task not in every[study].tasks:
                    continue
                for method in every[study].methods:
                    if method != "full":
                        cells = [records(folder / study, task, method, b) for b in budgets]
                        table.append([method, *map(percent, cells)])
            parts += [
                "",
                f"### {task}{', decoder layers' if number else ''}",
                "",
                tabulate(table, ["method", *(f"{b} %" for b in budgets)], tablefmt="github", disable_numparse=True),
            ]
    return "\n".join([*parts, NOTES])


HEAD = """# Findings on the embedded model

Made by `python scripts/findings.py`: all samples of the suite{limit}. What one table cannot tell (random against design
per stage, resize, positions, two questions, calibration, target recall) is in [Experiments](experiments.md).

Two pages of figures and tables of the committed results: [findings_pdf/findings.pdf](findings_pdf/findings.pdf). What
the reading `equal` changed, with the rankings that turned: [readings.md](readings.md).

nano: 9.8 M parameters, a decoder of 5 layers, screenshots of 36 to 40 merge blocks, float32, greedy, one seed. The
question is which qualitative claims of the papers show on this small instrument, not what the methods are worth on a
large model: nano was trained on full prompts at one image scale only, and a claim about redundancy in thousands of
tokens can fail here and hold there. Negative results stay in the table.

## Claims

a is the side that the claim favours. "tokens, entries": visual tokens that enter the decoder, and cache entries per
layer and head, mean per sample. "As published" rows are in the reading `paper`; all others in `equal`. Intervals are
paired bootstraps over screens and episodes; p is Holm-adjusted over all claims.
"""

NOTES = """
## How to read this

- `resize` and `guipruner-tar` shrink images, and nano never saw a shrunk screen: their low rows say that nano's ViT
  does not read other scales, nothing about the methods on models that were trained on many.
- At 40 tokens an image, 5 % are two tokens.
- `lagkv` compares blocks of 128 entries: a prompt shorter than its sinks and two blocks keeps its sinks and its end, so
  that its rows are nearly those of `streamingllm`.
- nano finds a named target while it reads the question, in its second and third decoder layers. What is dropped after
  that, or from the cache, costs little; what is dropped before costs much. So cache methods look better here than on a
  large model, and methods that act in early layers look worse.
- `focusui` uses a scorer that was trained for nano; the other selectors are training-free. `oracle` reads the answer.
- Markers of POSPAD count as tokens. nano has no trained one: stand-ins are shown, rows say "untrained marker"
  ([markers.md](markers.md) compares three of them).
- Steps that need an earlier screenshot (`recall`) decide the history comparisons: there a code must be copied from it.
  GUI-KV's loss on them comes from its temporal part alone: with `guikv.rank=0` it is as good as SnapKV. It sets to zero
  what the first 32 keys of the current screenshot span; nano's keys have 64 dimensions, of which that is half.
"""


def main() -> int:
    """Run what is missing, then write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=ROOT / "runs" / "findings", help="where the runs are kept")
    parser.add_argument("--limit", type=at_least_one, default=None, help="samples per task")
    parser.add_argument("--only", help="comma-separated studies to run; no page is written")
    parser.add_argument("--leaderboard", action="store_true", help="also build leaderboards/ from the runs")
    args = parser.parse_args()
    chosen = args.only.split(",") if args.only else list(studies())
    for name in chosen:
        print(f"== {name}", file=sys.stderr, flush=True)
        done = subprocess.run(
            command(studies()[name], args.folder / name, args.limit), cwd=ROOT, stdout=subprocess.DEVNULL
        )
        if done.returncode:
            return done.returncode
    if args.only:
        return 0
    (ROOT / "docs" / "findings.md").write_text(page(args.folder, args.limit))
    if args.leaderboard:
        runs = [str(args.folder / name) for name in (*STAGES, "ssp", "auto")]
        board = ["--dir", str(ROOT / "leaderboards")]
        build = [sys.executable, "-m", "vtprune_eval", "leaderboard", "build", *runs, *board]
        return subprocess.run(build, cwd=ROOT).returncode
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
