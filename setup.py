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
            target = Path(self.build_lib) / "vtprune_eval" / "_tasks"
            copytree(source, target, ignore=_without_packaged_data, dirs_exist_ok=True)


def _without_packaged_data(folder: str, names: list[str]) -> set[str]:
    """Data of tasks that a package of its own holds (``package`` in ``task.yaml``) stays out of the core wheel."""
    definition = Path(folder) / "task.yaml"
    own = definition.is_file() and any(line.startswith("package:") for line in definition.read_text().splitlines())
    return {"data"} & set(names) if own else set()


setup(cmdclass={"build_py": BuildWithTasks})
