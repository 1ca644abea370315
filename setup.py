"""Copies the task folders into the package when a wheel is built; everything else is in setup.cfg."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithTasks(build_py):
    """``tasks/`` lies beside the package in a checkout, and inside it once installed."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            source = Path(__file__).parent / "tasks"
            copytree(source, Path(self.build_lib) / "vtprune_eval" / "_tasks", dirs_exist_ok=True)


setup(cmdclass={"build_py": BuildWithTasks})
