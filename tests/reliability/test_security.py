"""What the package never does, read from its own source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vtprune_eval

ROOT = Path(vtprune_eval.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "os.system",
    "os.popen",
    "yaml.load",
    "yaml.unsafe_load",
    "yaml.full_load",
    "torch.load",
    "pd.read_pickle",
    "pandas.read_pickle",
}
METHODS = {"extractall", "extract"}  # of archives: data/archives.py looks at every member first
WALL_CLOCK = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.datetime.now"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def tensors_alone(call: ast.Call) -> bool:
    """Whether ``torch.load`` is told to build nothing but tensors and plain containers."""
    return any(
        k.arg == "weights_only" and isinstance(k.value, ast.Constant) and k.value.value is True for k in call.keywords
    )


def findings(source: str, tests: dict) -> list[str]:
    out = []
    for node in ast.walk(ast.parse(source)):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        out += [n for n in names if n.split(".")[0] in tests.get("modules", ())]
        if isinstance(node, ast.Call):
            name = dotted(node.func)
            if (name in tests.get("calls", ()) and not tensors_alone(node)) or name.rpartition(".")[2] in tests.get(
                "methods", ()
            ):
                out.append(f"{name} in line {node.lineno}")
            out += [
                f"{k.arg} in line {node.lineno}"
                for k in node.keywords
                if k.arg in tests.get("options", ())
                and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            ]
    return out


UNSAFE = {"modules": MODULES, "calls": CALLS, "methods": METHODS, "options": {"shell", "allow_pickle"}}


@pytest.mark.parametrize(
    "bad",
    [
        "import pickle",
        "from joblib import load",
        "eval(x)",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "z.extractall()",
        "subprocess.run(x, shell=True)",
        "np.load(p, allow_pickle=True)",
        "yaml.load(s)",
    ],
)
def test_the_check_sees(bad):
    assert findings(bad, UNSAFE)


def test_the_check_lets_tensors_pass():
    assert findings("torch.load(p, weights_only=True)", UNSAFE) == []


def test_no_pickle_no_eval_no_shell_no_unchecked_archive():
    assert len(FILES) > 100
    found = {str(f.relative_to(ROOT)): bad for f in FILES if (bad := findings(f.read_text(), UNSAFE))}
    assert found == {}


def test_remote_code_runs_only_where_the_flag_was_given():
    """No call passes a constant True: the value always comes from --trust-remote-code."""
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text())):
            for k in node.keywords if isinstance(node, ast.Call) else ():
                if k.arg == "trust_remote_code":
                    assert not (isinstance(k.value, ast.Constant) and k.value.value), f"{file}:{node.lineno}"
    from vtprune_eval.runner.spec import RunSpec

    assert RunSpec(model="stub").trust_remote_code is False


def test_only_monotonic_clocks():
    """The wall clock is asked in one place: how old a left-over file of the disk cache is, whose time is the disk's."""
    found = {f.name: bad for f in FILES if (bad := findings(f.read_text(), {"calls": WALL_CLOCK}))}
    assert set(found) <= {"disk_cache.py"} and all(len(v) == 1 for v in found.values()), found
