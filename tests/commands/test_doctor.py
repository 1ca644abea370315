"""``doctor``: one line per thing, the remedy beside it, and no traceback whatever is broken."""

from __future__ import annotations

import json
import sys

import pytest
import torch

from vtprune_eval.cli import main
from vtprune_eval.commands import doctor


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Nothing is asked of the network."""
    monkeypatch.setattr(doctor, "_reach", lambda address: (False, f"{address} does not answer (stand-in)"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def examined(capsys, *args: str) -> tuple[int, dict[str, dict]]:
    code = main(["doctor", "--format", "json", *args])
    data = json.loads(capsys.readouterr().out)
    assert data["ok"] == (code == 0)
    return code, {f["what"]: f for f in data["findings"]}


def test_a_cpu_needs_nothing_more(capsys):
    code, found = examined(capsys)
    assert code == 0
    assert found["torch"]["found"] == torch.__version__ and found["transformers"]["state"] == "ok"
    assert found["a run uses"]["found"] == "nano on cpu in float32 with sdpa"
    assert "times its matrix product" in found["patch embedding"]["found"]
    assert found["GPU"]["state"] == "note" and "GiB free" in found["disk here"]["found"]


def test_the_table_says_what_is_missing_and_how_to_get_it(capsys):
    assert main(["doctor", "--device", "cuda"]) == 1
    said = capsys.readouterr().out
    assert " X GPU" in said and "nvidia-smi" in said and said.rstrip().endswith("missing for these settings.")
    assert main(["doctor"]) == 0
    assert "nothing is missing" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("args", "what", "says"),
    [
        (("--device", "cuda"), "settings", "no usable CUDA device"),
        (("--attn", "flash_attention_2"), "settings", "flash_attention_2"),
        (("--model", "qwen"), "settings", "unknown model"),
        (("--engine", "slurm"), "settings", "local or ray"),
        (("--dtype", "int8"), "settings", "unknown dtype"),
        (("--model", "qwen3vl-2b"), "hub", "--weights random"),
    ],
)
def test_what_the_settings_need_is_missing(capsys, args, what, says):
    code, found = examined(capsys, *args)
    assert code == 1
    assert found[what]["state"] == "missing" and says in found[what]["remedy"]


def test_a_model_with_random_weights_needs_no_hub(capsys):
    assert examined(capsys, "--model", "qwen3vl-2b", "--weights", "random")[0] == 0


def test_an_extra_that_is_not_installed_is_named_with_its_line(capsys, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    code, found = examined(capsys)
    assert code == 0 and found["ray"]["remedy"] == "pip install 'vtprune_eval[ray]'"
    code, found = examined(capsys, "--engine", "ray")
    assert code == 1 and found["ray"]["state"] == "missing"


@pytest.mark.parametrize("module", ["torch", "transformers", "huggingface_hub", "vtprune_eval.profiling.gpu"])
def test_whatever_is_broken_there_is_no_traceback(capsys, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)  # importing it fails
    code, found = examined(capsys)
    assert "Traceback" not in capsys.readouterr().err
    assert len(found) > 8
    if module in ("torch", "transformers"):
        assert code == 1 and found[module]["state"] == "missing" and "pip install" in found[module]["remedy"]


@pytest.mark.parametrize("name", [n for n in vars(doctor) if n.startswith("_") and n[1:].isalpha() and n != "_Parser"])
def test_every_look_may_fail(capsys, monkeypatch, name):
    def broken(*args):
        raise RuntimeError("the device fell off the bus")

    monkeypatch.setattr(doctor, name, broken)
    assert examined(capsys)[0] in (0, 1)


def test_a_slow_convolution_is_said(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "SLOW_CONVOLUTION", 0.0)
    code, found = examined(capsys)
    assert (
        code == 0
        and found["patch embedding"]["state"] == "note"
        and "another torch" in found["patch embedding"]["remedy"]
    )


def test_a_gpu_and_its_counters(capsys, monkeypatch):
    class Meter:
        reason = ""

        def start(self):
            pass

        def stop(self):
            return 1.5

        def state(self):
            return {"driver": "1.2", "energy_source": "counter"}

        def close(self):
            pass

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda n=0: "Stand-in")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda n=0: (3 << 30, 8 << 30))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr("vtprune_eval.profiling.gpu.open_gpu", lambda device, profile: Meter())
    monkeypatch.setattr(torch, "ones", lambda *shape, device=None: torch.full(shape, 1.0))
    found = examined(capsys, "--device", "cpu")[1]
    assert found["GPU cuda:0"]["found"] == "Stand-in, 3.0 of 8.0 GiB free, bfloat16"
    assert found["driver"]["found"] == "1.2" and found["energy"]["found"] == "counter: answers"
