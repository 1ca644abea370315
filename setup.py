"""Copies what lies beside the package into it when a wheel is built; everything else is in setup.cfg."""

from pathlib import Path
from shutil import copytree

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithData(build_py):
    """The tasks and the papers' tables lie beside the package in a checkout, and inside it once installed."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            beside, package = Path(__file__).parent, Path(self.build_lib) / "vtprune_eval"
            copytree(beside / "tasks", package / "_tasks", ignore=_without_packaged_data, dirs_exist_ok=True)
            copytree(beside / "leaderboards" / "papers", package / "_papers", dirs_exist_ok=True)


def _without_packaged_data(folder: str, names: list[str]) -> set[str]:
    """Data of tasks that a package of its own holds (``package`` in ``task.yaml``) stays out of the core wheel."""
    definition = Path(folder) / "task.yaml"
    own = definition.is_file() and any(line.startswith("package:") for line in definition.read_text().splitlines())
    return {"data"} & set(names) if own else set()


setup(cmdclass={"build_py": BuildWithData})
