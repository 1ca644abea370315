"""The folder of a training: settings, one line per step, checkpoints, and the model at the end.

FOLDER/                     a hub-format folder once the training is over
FOLDER/training/spec.json   settings; another training is refused in this folder
FOLDER/training/steps.jsonl one line per step of the optimizer
FOLDER/training/checkpoint-N   after step N: what is trained, the optimizer, random states; the last two are kept
FOLDER/training/summary.json   at the end
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..errors import UserError
from .shard import gathered, load_optimizer, put, save_optimizer
from .spec import TrainSpec

WEIGHTS = "trained.safetensors"
KEPT = 2


class Folder:
    """Where a training writes.

    Args:
        spec: of the training.
        accelerator: of accelerate.
        learner: with the trained parameters.
        seen: further facts that a resumed training must share, such as the fingerprint of the model.
    """

    # Of a divided training, whose optimizer accelerate does not know.
    optimizer: Any = None

    def __init__(self, spec: TrainSpec, accelerator: Any, learner: nn.Module, seen: Mapping[str, Any]) -> None:
        self.out = Path(spec.out)
        self.own = self.out / "training"
        self._accelerator, self._learner = accelerator, learner
        self._identity = json.loads(json.dumps({**spec.canonical(), **seen}))
        accelerator.register_save_state_pre_hook(self._save_trained)
        accelerator.register_load_state_pre_hook(self._load_trained)

    def open(self) -> int:
        """Create the folder or take up a training in it; returns the number of finished steps.

        Raises:
            UserError: the folder holds another training, or cannot be written.
        """
        file = self.own / "spec.json"
        try:
            self.own.mkdir(parents=True, exist_ok=True)
            held = json.loads(file.read_text()) if file.exists() else None
        except (OSError, ValueError) as error:
            raise UserError(f"--out {self.out} cannot be used ({error}); choose another folder.") from None
        if held is not None:  # what an earlier version could not be told stood at its default
            defaults = {
                f.name: f.default for f in dataclasses.fields(TrainSpec) if f.default is not dataclasses.MISSING
            }
            held = {**{k: v for k, v in defaults.items() if k in self._identity}, **held}
        if held is not None and held != self._identity:
            differ = sorted(k for k in {*held, *self._identity} if held.get(k) != self._identity.get(k))
            raise UserError(
                f"--out {self.out} holds a training with other settings ({', '.join(differ)}); choose another folder, "
                "or repeat its settings to go on with it."
            )
        if self._accelerator.is_main_process:
            _write(file, self._identity)
        done = self.checkpoints()
        for number, path in reversed(done):
            try:
                self._accelerator.load_state(str(path))
            except Exception as error:  # half written by a machine that lost power: the one before is whole
                if number == done[0][0]:
                    raise UserError(
                        f"{path} cannot be read ({type(error).__name__}: {error}); remove it to start again."
                    ) from error
                continue
            self._cut_log(number)
            return number
        self._cut_log(0)
        return 0

    def checkpoints(self) -> list[tuple[int, Path]]:
        """Finished checkpoints, oldest first."""
        found = []
        for path in self.own.glob("checkpoint-*"):
            number = path.name.removeprefix("checkpoint-")
            if number.isdigit():
                found.append((int(number), path))
        return sorted(found)

    def save(self, step: int) -> None:
        """Write the checkpoint of ``step`` finished steps; it has its name only once it is whole."""
        target, part = self.own / f"checkpoint-{step}", self.own / f"checkpoint-{step}.part"
        self._accelerator.save_state(str(part))
        self._accelerator.wait_for_everyone()
        if self._accelerator.is_main_process:
            shutil.rmtree(target, ignore_errors=True)
            os.replace(part, target)
            for _, old in self.checkpoints()[:-KEPT]:
                shutil.rmtree(old, ignore_errors=True)
        self._accelerator.wait_for_everyone()

    def log(self, line: Mapping[str, Any]) -> None:
        """Append one step."""
        if self._accelerator.is_main_process:
            with (self.own / "steps.jsonl").open("a", encoding="utf-8") as out:
                out.write(json.dumps(line, separators=(",", ":")) + "\n")

    def lines(self) -> list[dict[str, Any]]:
        """The steps so far; a torn last line is left out."""
        file = self.own / "steps.jsonl"
        out = []
        for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
            try:
                out.append(json.loads(line))
            except ValueError:
                break
        return out

    def write(self, name: str, data: Mapping[str, Any]) -> None:
        """A JSON file beside the steps."""
        if self._accelerator.is_main_process:
            _write(self.own / name, data)

    def _cut_log(self, step: int) -> None:
        """Forget the steps behind a checkpoint: they are made again."""
        if not self._accelerator.is_main_process:
            return
        lines = [line for line in self.lines() if line["step"] <= step]
        part = self.own / "steps.jsonl.part"
        part.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines), encoding="utf-8")
        os.replace(part, self.own / "steps.jsonl")

    def _save_trained(self, models: list[Any], weights: list[Any], folder: str) -> None:
        from safetensors.torch import save_file

        weights.clear()  # frozen weights are not written again with every checkpoint
        main = self._accelerator.is_main_process
        if main or self.optimizer is not None:
            trained = gathered(((n, p) for n, p in self._learner.named_parameters() if p.requires_grad), main)
        if main:
            save_file(trained, Path(folder) / WEIGHTS)
        if self.optimizer is not None:
            save_optimizer(self._learner, self.optimizer, Path(folder), main)

    def _load_trained(self, models: list[Any], folder: str) -> None:
        import torch
        from safetensors.torch import load_file

        models.clear()
        saved = load_file(Path(folder) / WEIGHTS)
        wanted = {n: p for n, p in self._learner.named_parameters() if p.requires_grad}
        if saved.keys() != wanted.keys():
            raise ValueError("it holds other parameters than those that are trained")
        with torch.no_grad():
            for name, parameter in wanted.items():
                put(parameter, saved[name])
        if self.optimizer is not None:
            load_optimizer(self._learner, self.optimizer, Path(folder))


def _write(path: Path, data: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    os.replace(part, path)
