"""Where benchmarks and tasks are found, and that one broken file never hides the others."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.benchmarks import formats
from vtprune_eval import cli
from vtprune_eval.benchmarks import registry
from vtprune_eval.benchmarks.definitions import definition, named_task, task_names
from vtprune_eval.benchmarks.registry import benchmark, benchmark_names
from vtprune_eval.benchmarks.tasks import load_task
from vtprune_eval.errors import UserError
from vtprune_eval.paths import tasks_dir

YAML = """title: My screens
version: 1
benchmark: mini
rule: point_in_box
max_new_tokens: 16
source: own data
licence: own
"""
MODULE = '''"""A benchmark beside its task."""

from vtprune_eval.benchmarks.benchmark import Benchmark, Rule
from vtprune_eval.benchmarks.mini import Mini
from vtprune_eval.sample import graded


class Parity(Mini):
    name = "parity"
    settings = ("even",)
    prompted = False

    def rules(self, spec):
        def compare(said, target, frame):
            return graded(said == spec.setting("even"))

        return {"official": Rule(compare, readers={"mini": lambda text, frame: text in ("2", "4")})}
'''


@pytest.fixture
def own(tmp_path):
    """A folder with one task of one record."""
    folder = tmp_path / "more" / "my-screens"
    folder.mkdir(parents=True)
    (folder / "task.yaml").write_text(YAML)
    formats.picture(folder / "data" / "images" / "a.png", (64, 32))
    record = {"id": "a", "images": ["images/a.png"], "question": "click save"}
    record["target"] = {"type": "box", "box_xyxy": [0, 0, 32, 16]}
    (folder / "data" / "samples.jsonl").write_text(json.dumps(record))
    yield folder
    registry.forget()


def test_every_built_in_benchmark_has_its_modules_name():
    for name in benchmark_names():
        assert benchmark(name).name == name
    assert {"aitw", "mini", "screenspot_v2", "vlmeval"} <= set(benchmark_names())


def test_a_folder_of_tasks_is_included(own, capsys):
    assert "my-screens" not in task_names()
    registry.include([own.parent])
    assert definition("my-screens").folder == own
    assert len(load_task("my-screens").samples) == 1
    with pytest.raises(UserError, match=r"--include-path .*no task\.yaml"):
        registry.include([own / "data"])


def test_the_command_line_runs_a_task_folder(own, tmp_path, capsys):
    command = ["--model", "stub", "--method", "full", "--out", str(tmp_path / "run")]
    assert cli.main([*command, "--tasks", str(own)]) == 0
    assert "my-screens" in capsys.readouterr().out
    registry.forget()
    assert cli.main(["list", "tasks", "--include-path", str(own.parent)]) == 0
    assert "my-screens" in capsys.readouterr().out
    registry.forget()
    assert cli.main(["data", "check", "my-screens", f"--include-path={own}"]) == 0


def test_a_name_that_is_taken_stays_with_its_first_owner(own, capsys):
    taken = own.with_name("mini-doc")
    shutil.copytree(own, taken)
    registry.include([own.parent])
    assert definition("mini-doc").folder == tasks_dir() / "mini-doc"
    assert "the task 'mini-doc'" in capsys.readouterr().err
    with pytest.raises(UserError, match="name of another task"):
        named_task(str(taken))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("version: 1\n", ""), "the key 'version' is missing"),
        (("max_new_tokens: 16", "max_new_token: 16"), "did you mean 'max_new_tokens'"),
        (("max_new_tokens: 16", "max_new_tokens: many"), "max_new_tokens is 'many' where a whole number is needed"),
        (("max_new_tokens: 16", "max_new_tokens: 0"), "at least 1"),
        (("benchmark: mini", "benchmark: minni"), "did you mean 'mini'"),
        (("rule: point_in_box", "rule: point_in_boxes"), "did you mean 'point_in_box'"),
        (("rule: point_in_box\n", ""), "the key 'rule' is missing"),
        (("title: My screens", "title: [a"), "not valid YAML"),
        (("title: My screens", "title: 7"), "title is 7 where a text is needed"),
        (("licence: own", "licence: own\nname: other"), "a task has its folder's name"),
        (("licence: own", "licence: own\nprompts: groundings"), ""),
        ((YAML, "- a list"), "a mapping of keys is needed"),
    ],
)
def test_a_broken_definition_is_one_sentence_and_hides_nothing(own, change, message, capsys):
    (own / "task.yaml").write_text(YAML.replace(*change))
    registry.include([own.parent])
    if message:
        with pytest.raises(UserError, match=r"^[^\n]+$") as error:
            definition("my-screens")
        assert message in str(error.value)
    assert cli.main(["list", "tasks", "--format", "json"]) == 0
    rows = {r["name"]: r["title"] for r in json.loads(capsys.readouterr().out)}
    assert ("broken: " in rows["my-screens"]) == bool(message) and "broken" not in rows["mini-doc"]
    if message:
        assert cli.main(["--model", "stub", "--method", "full", "--tasks", "my-screens"]) == 2


def test_a_benchmark_beside_its_task(own):
    (own / "task.yaml").write_text(YAML.replace("mini", "parity").replace("rule: point_in_box", "even: true"))
    (own / "benchmark.py").write_text(MODULE)
    registry.include([own])
    task = load_task("my-screens")
    assert [task.score(task.samples[0], text, {}).value for text in ("4", "3", "x")] == [1, 0, 0]
    assert task.label == "my-screens"


@pytest.mark.parametrize("code", ["import nothing_of_that_name", "raise SystemExit(0)", "def (", "1 / 0"])
def test_a_broken_benchmark_file_is_one_sentence(own, code, capsys):
    (own / "benchmark.py").write_text(code)
    registry.include([own])
    with pytest.raises(UserError, match="cannot be imported"):
        load_task("my-screens")
    assert cli.main(["list", "tasks"]) == 0 and "mini-doc" in capsys.readouterr().out


@pytest.mark.parametrize("code", ["raise SystemExit(0)", "def (", "import nothing_of_that_name", "x = 1"])
def test_a_broken_method_file_ends_no_run_silently_and_hides_no_list(code, monkeypatch, tmp_path, capsys):
    import vtprune_eval.methods as package
    from vtprune_eval.registry import method_names

    (tmp_path / "broken_one.py").write_text(code)
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(tmp_path)])
    monkeypatch.setitem(method_names(), "broken-one", "builtin")
    assert cli.main(["list", "methods"]) == 0
    out = capsys.readouterr().out
    assert "broken: method 'broken-one'" in out.replace("broken_one.py must", "broken: method 'broken-one'")
    assert "pixelprune" in out
    assert cli.main(["--model", "stub", "--method", "broken-one", "--tasks", "mini-doc"]) == 2
    assert "fix" in capsys.readouterr().err
