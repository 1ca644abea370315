"""A run with ``--engine vllm``, from the command line's settings to the board, with a stand-in for vLLM.

The stand-in answers with the pipeline. What happens inside vLLM is tested by `make test-vllm`.
"""

import json
from dataclasses import replace

import pytest

from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.commands.verify import main as verify
from vtprune_eval.errors import UserError
from vtprune_eval.integrations.vllm import engine as module
from vtprune_eval.report.result_file import from_run, read, write
from vtprune_eval.report.validate import validate
from vtprune_eval.results.verified import check_rows
from vtprune_eval.runner.config import from_mapping
from vtprune_eval.runner.execute import execute, load_factory
from vtprune_eval.runner.folder import read_run
from vtprune_eval.runner.spec import RunSpec
from vtprune_eval.runner.workers import vllm as loop

COSTS = ("times", "peak_bytes", "energy_j", "gpu_process_bytes", "flops", "kv_bytes")


class StandIn:
    """Answers in another order than it is asked, as an engine does; ``wrong``: ids of samples with another answer."""

    made = 0
    wrong: tuple[str, ...] = ()
    interrupt: list[list[bool]] = []  # noqa: RUF012 (shared on purpose)

    def __init__(self, spec, **options):
        identity, self._factory, self.coordinates = load_factory(replace(spec, engine="local"))
        self.identity = {**identity, "engine": "vllm 0.30.0"}
        StandIn.made += 1

    def answer(self, cell, samples, max_new_tokens):
        class Task:
            pass

        Task.max_new_tokens = max_new_tokens
        pipeline = self._factory(cell, Task)
        for sample in reversed(list(samples)):
            outcome = pipeline.run(sample)
            for stop in StandIn.interrupt:
                stop.append(True)
            yield sample, replace(outcome, ids=(*outcome.ids, 3)) if sample.id in self.wrong else outcome


@pytest.fixture
def stand_in(monkeypatch):
    monkeypatch.setattr(module, "VllmEngine", StandIn)
    monkeypatch.setattr(StandIn, "wrong", ())
    monkeypatch.setattr(StandIn, "interrupt", [])
    return StandIn


def spec_in(folder, **more):
    given = {
        "methods": "full,stride",
        "budgets": "40",
        "tasks": "mini-doc",
        "limit": 4,
        "engine": "vllm",
        "out": str(folder),
        "format": "json",
        **more,
    }
    return from_mapping(given)


def records_of(folder):
    return {
        p.name: [json.loads(line) for line in p.read_text().splitlines()]
        for p in sorted((folder / "records").glob("*.jsonl"))
    }


def test_records_are_complete_in_order_and_without_costs(stand_in, tmp_path, capsys):
    assert execute(spec_in(tmp_path / "run")) == 0
    said = json.loads(capsys.readouterr().out)
    assert all(row["costs"]["flops"] is None and row["costs"]["kv_bytes"] is None for row in said["rows"])
    local = tmp_path / "local"
    assert execute(replace(spec_in(local), engine="local", share="off")) == 0
    ours, theirs = records_of(local), records_of(tmp_path / "run")
    assert ours.keys() == theirs.keys()
    for name, own in theirs.items():
        assert [r["id"] for r in own] == [r["id"] for r in ours[name]]
        for mine, other in zip(ours[name], own, strict=True):
            assert all(other[k] is None for k in COSTS) and other["engine"] == "vllm 0.30.0"
            same = mine.keys() - {*COSTS, "key", "shared"}
            assert {k: mine[k] for k in same} == {k: other[k] for k in same}
    assert ours["mini-doc--full@100.jsonl"][0]["key"] != theirs["mini-doc--full@100.jsonl"][0]["key"]


def test_a_run_goes_on_where_it_was_interrupted(stand_in, tmp_path, monkeypatch, capsys):
    interrupts = loop.interrupts
    monkeypatch.setattr(loop, "interrupts", lambda: _Stopping(interrupts()))
    assert execute(spec_in(tmp_path / "run")) == 130
    assert sum(map(len, records_of(tmp_path / "run").values())) == 1
    monkeypatch.setattr(StandIn, "interrupt", [])
    monkeypatch.setattr(loop, "interrupts", interrupts)
    assert execute(spec_in(tmp_path / "run")) == 0
    assert "resuming: 1 of 8 records are there" in capsys.readouterr().err


class _Stopping:
    """The interrupt handler, through which the stand-in presses Ctrl-C."""

    def __init__(self, inner):
        self._inner = inner

    def __enter__(self):
        stop = self._inner.__enter__()
        StandIn.interrupt.append(stop)
        return stop

    def __exit__(self, *error):
        return self._inner.__exit__(*error)


def test_a_board_takes_verified_rows_alone(stand_in, tmp_path, capsys):
    run = tmp_path / "run"
    execute(spec_in(run))
    with pytest.raises(UserError, match="never compared with the pipeline; run `python -m vtprune_eval verify RUN`"):
        from_run(read_run(run))
    assert verify([str(run), "--samples", "3"]) == 0
    assert "6 of 6 answers of vllm 0.30.0 have the pipeline's ids (100.0 %, float32)" in capsys.readouterr().out
    path = write(*from_run(read_run(run)), tmp_path / "results")
    assert read(path)[0]["environment"]["verified"]["samples"] == 3
    assert any("no costs are stated" in line for line in validate(path))


def test_rows_that_differ_are_refused_in_float32(stand_in, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    monkeypatch.setattr(StandIn, "wrong", tuple(load_task("mini-doc", 4).samples.ids[:1]))
    execute(spec_in(run))
    assert verify([str(run)]) == 1
    assert "6 of 8 answers" in capsys.readouterr().out
    with pytest.raises(
        UserError, match=r"3 of 4 answers of vllm 0\.30\.0 have the pipeline's ids, and in float32 98 %"
    ):
        from_run(read_run(run))


def test_records_with_costs_are_no_records_of_an_engine(stand_in, tmp_path, monkeypatch):
    run = tmp_path / "run"
    real = loop.record_of_engine
    monkeypatch.setattr(loop, "record_of_engine", lambda *given: {**real(*given), "flops": {"total": 1.0}})
    execute(spec_in(run))
    verify([str(run), "--samples", "1"])
    path = write(*from_run(read_run(run)), tmp_path / "results")
    with pytest.raises(UserError, match="states costs, and answers of an engine have none"):
        validate(path)


def test_verify_is_for_runs_of_an_engine(tmp_path):
    execute(replace(spec_in(tmp_path / "run"), engine="local"))
    with pytest.raises(UserError, match="answered by the pipeline itself"):
        verify([str(tmp_path / "run")])
    with pytest.raises(UserError, match="--samples 0"):
        verify(["--samples", "0"])
    with pytest.raises(UserError, match="name a run's folder, or add --engine vllm"):
        verify(["--method", "full"])


def test_rows_in_bfloat16_are_shown_with_their_share():
    cells = [{"task": "t", "method": "full", "budget": "100", "n": 50, "equal": 30, "kept": 50}]
    settings, environment = {"engine": "vllm", "dtype": "bfloat16"}, {"verified": {"cells": cells}}
    check_rows(settings, environment, [("full", "100")])
    with pytest.raises(UserError, match="30 of 50"):
        check_rows({**settings, "dtype": "float32"}, environment, [("full", "100")])
    check_rows({"dtype": "float32"}, {}, [("full", "100")])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"methods": "full,fastv", "budgets": "60"},
            "fastv drops tokens inside the decoder, which vLLM cannot do; run it with --engine local",
        ),
        ({"methods": "snapkv"}, "snapkv drops tokens in the KV cache"),
        ({"model": "qwen3.5-2b"}, "no plug-in for qwen3.5-2b"),
        ({"weights": "random"}, "leave --weights random out"),
        ({"device": "spread"}, "--engine vllm takes cpu or cuda"),
        ({"cache": "x"}, "--cache belongs to --engine local"),
    ],
)
def test_what_the_engine_cannot_do_is_refused_before_anything_is_loaded(given, says):
    with pytest.raises(UserError, match=says):
        from_mapping({"engine": "vllm", "methods": "full", "budgets": "25", **given})


def test_the_engine_is_part_of_a_runs_identity_and_ray_is_not():
    local, ray, vllm = (RunSpec(engine=e, methods=("full",), budgets=("25",)) for e in ("local", "ray", "vllm"))
    assert local.identity == ray.identity != vllm.identity


def test_without_vllm_the_extra_is_named(monkeypatch):
    import importlib.util

    if importlib.util.find_spec("vllm") is not None:
        pytest.skip("vLLM is installed here")
    with pytest.raises(UserError, match=r"pip install 'vtprune_eval\[vllm\]'"):
        module.VllmEngine(from_mapping({"engine": "vllm", "methods": "full", "budgets": "100"}))
