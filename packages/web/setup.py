"""Copies the web suite's data and cards into the package; everything else is in pyproject.toml."""

from pathlib import Path
from shutil import copyfile, copytree

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parents[2]


class BuildWithData(build_py):
    """The data lies in the checkout once, where it is used from; the wheel holds a copy."""

    def run(self) -> None:
        super().run()
        target = Path(self.build_lib) / "vtprune_eval_web" / "tasks"
        for task in sorted((ROOT / "tasks").glob("web-*")):
            copytree(task / "data", target / task.name / "data", dirs_exist_ok=True)
            copyfile(task / "README.md", target / task.name / "README.md")


setup(cmdclass={"build_py": BuildWithData})
