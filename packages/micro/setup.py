"""Copies micro's folder and the larger mini suite's data into the package; everything else is in pyproject.toml."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]


class BuildWithData(build_py):
    """Weights and data lie in the checkout once, where they are used from; the wheel holds copies."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "vtprune_eval_micro"
        copytree(ROOT / "vtprune_eval" / "models" / "micro", target / "model", dirs_exist_ok=True)
        for task in sorted((ROOT / "tasks").glob("mini-large-*")):
            copytree(task / "data", target / "tasks" / task.name / "data", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithData})
