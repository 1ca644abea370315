"""Scores of single answers on the kit's data sets.

Protocol ``vlmeval`` calls the kit's own metric code on one row; the mean over the samples, times 100, is the kit's
overall number. ``official`` is the rule of the benchmark itself where the kit departs from it:

- ScreenSpot (v1, v2): the kit takes one pixel off the right and the bottom of a box.
- OSWorld-G: the kit divides every coordinate by 1000, whatever the model means.
- all of them: the kit reads an answer without ``x=.., y=..`` as the point (0, 0), and takes numbers above 1 for pixels
  of the image file; here it is a format error, and numbers above 1 are in the model's own frame.

``no_judge`` (MMLongBench-Doc): the kit's comparison with the annotated answer, on the answer itself. The kit lets a
commercial model extract a short answer first; without it, a sentence around the right answer is wrong.
"""

from __future__ import annotations

import ast
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject
from ...sample import Score
from ..answers import MAX_CHARS, first_point, fraction
from ..benchmark import Frame, Truth
from .reader import class_of, quietly

_FORMAT_ERROR = Score(0.0, None, "format_error")


def score(text: str, target: Truth, frame: Frame) -> Score:
    """Score one answer; never raises on what a model said.

    Args:
        text: the answer, as decoded.
        target: ``kind``, ``dataset``, ``protocol`` and ``row`` (the annotation) as :mod:`.reader` writes them.
        frame: ``coordinates`` of the model, ``model_sizes`` and ``file_sizes`` of the images, (width, height).
    """
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair cannot stand in the kit's tables
    if target["kind"] == "gui" and target["protocol"] == "official":
        return official_click(text, target, frame)
    return _KIT[target["kind"]](text, target, frame)


def official_click(text: str, target: Truth, frame: Frame) -> Score:
    """The answer's point lies in the target's box; borders are inside.

    The first place of the answer. Two numbers up to 1 are fractions of the image.
    """
    size = frame["file_sizes"][-1]
    x1, y1, x2, y2 = box_corners(target["dataset"], target["row"]["bbox"])
    pair = first_point(text)
    at = pair if pair is None or (0 <= pair[0] <= 1 and 0 <= pair[1] <= 1) else fraction(pair, frame)
    if at is None:
        return _FORMAT_ERROR
    hit = x1 <= at[0] * size[0] <= x2 and y1 <= at[1] * size[1] <= y2
    return Score(float(hit), {"point": list(at)}, "ok" if hit else "wrong")


def box_corners(dataset: str, bbox: Any) -> tuple[float, float, float, float]:
    """Corners x1, y1, x2, y2 in pixels: Pro stores two corners, the others left, top, width, height."""
    values = ast.literal_eval(bbox) if isinstance(bbox, str) else bbox
    a, b, c, d = (float(v) for v in values)
    return (a, b, c, d) if dataset.startswith("ScreenSpot_Pro") else (a, b, a + c, b + d)


# Comparison of words by data set, as the kit chooses it; for others its default.
_METHODS = {
    "vqa_score": ("TextVQA",),
    "relaxed_accuracy": ("ChartQA",),
    "accuracy": ("OCRVQA", "GQA"),
    "anls": ("DocVQA", "InfoVQA"),
}


def _yorn(text: str, target: Truth, frame: Frame) -> Score:
    from vlmeval.dataset.utils.yorn import YOrN_Extraction

    said, wanted = YOrN_Extraction(text), str(target["row"]["answer"])
    if target["dataset"] == "AMBER":
        said, wanted = said.lower(), wanted.lower()
    return _FORMAT_ERROR if said.lower() == "unknown" else _graded(said == wanted, text)


def _vqa(text: str, target: Truth, frame: Frame) -> Score:
    from vlmeval.dataset.utils.vqa_eval import hit_calculate, process_line

    name = target["dataset"]
    line = {"answer": str(target["row"]["answer"]), "prediction": text}
    method = next((m for m, parts in _METHODS.items() if any(p in name for p in parts)), None)
    result = process_line(line, **({"method": method} if method else {}))
    return _graded(hit_calculate([result], name)[0], text)


def _mcq(text: str, target: Truth, frame: Frame) -> Score:
    import pandas as pd
    from vlmeval.dataset.utils.multiple_choice import eval_vanilla

    row = target["row"]
    item = pd.Series({**row, "prediction": text, "GT": row["answer"]})
    return _graded(eval_vanilla(None, item, dataset_name=target["dataset"])["hit"], text)


def _ocrbench(text: str, target: Truth, frame: Frame) -> Score:
    from vlmeval.dataset.image_vqa import OCRBench

    with tempfile.TemporaryDirectory() as folder:
        report = quietly(OCRBench.evaluate, _one_row(Path(folder), target["row"], text))
    return _graded(report["Final Score"], text)


def _gui(text: str, target: Truth, frame: Frame) -> Score:
    from PIL import Image

    name = target["dataset"]
    cls = class_of(name)
    with tempfile.TemporaryDirectory() as folder:
        dataset = cls(dataset=name, skeleton=True)
        # The evaluation opens the picture for its size alone.
        dataset.img_root = folder
        dataset.parse_response_func = _point_reader(cls)
        Image.new("1", tuple(frame["file_sizes"][-1])).save(Path(folder) / "screen.png")
        row = {**target["row"], "image_path": "screen.png"}
        try:
            report = quietly(dataset.evaluate, _one_row(Path(folder), row, text))
        except ValueError:  # the kit stops at a box that leaves the image
            return Score(0.0, None, "box_outside_image")
    if report["Format_Err_Rate"] > 0:
        return _FORMAT_ERROR
    return _graded(report["Overall_Accuracy"] / 100, text)


def _mmlongbench(text: str, target: Truth, frame: Frame) -> Score:
    from .mmlongbench import eval_score

    row = target["row"]
    # The kit evaluates an answer that begins with a bracket as Python. What a model says is read as a literal only.
    said: Any = text.strip()
    if said.startswith("["):
        try:
            said = ast.literal_eval(said[:MAX_CHARS])
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return _FORMAT_ERROR
    try:
        value = quietly(eval_score, row["answer"], said, row["answer_format"])
    except Exception:  # the kit scores whatever its comparison cannot read as 0
        return Score(0.0, None, "not_comparable")
    return _graded(value, text)


def _olmocr(text: str, target: Truth, frame: Frame) -> Score:
    """Share of the page's unit tests that pass; ``parts`` counts them by source (the benchmark averages these)."""
    from vlmeval.dataset.olmOCRBench.tests import BaselineTest

    tests = page_tests(target["row"])
    pdf = tests[0].pdf
    if not any(t.type == "baseline" for t in tests):  # as the kit does for every document
        tests.append(BaselineTest(id=f"{pdf}_baseline", pdf=pdf, page=1, type="baseline"))
    passed: dict[str, int] = {}
    n_tests: dict[str, int] = {}
    for test in tests:
        group = "baseline" if test.id == f"{pdf}_baseline" else test.pdf.split("/")[0]
        try:
            hit = bool(test.run(text)[0])
        except Exception:  # the kit counts a test that stumbles over an answer as not passed
            hit = False
        passed[group] = passed.get(group, 0) + hit
        n_tests[group] = n_tests.get(group, 0) + 1
    value = sum(passed.values()) / len(tests)
    graded = _graded(value, text)
    return Score(value, graded.parsed, graded.reason, {"passed": passed, "tests": n_tests})


def page_tests(row: JsonObject) -> list[Any]:
    """The kit's unit tests of one page; those with a formula render it in a browser.

    Raises:
        UserError: the browser is missing, or an annotation that the kit cannot read.
    """
    from playwright.sync_api import Error as PlaywrightError
    from vlmeval.dataset.olmOCRBench.tests import ValidationError, load_single_test

    try:
        tests = json.loads(row["answer"]) if isinstance(row["answer"], str) else row["answer"]
        found = [load_single_test(t) for t in tests]
    except PlaywrightError as error:
        raise UserError(
            f"olmOCRBench: formulas cannot be rendered ({str(error).strip().splitlines()[0]}); run `python "
            "-m playwright install chromium`."
        ) from None
    except (ValueError, TypeError, AttributeError, ValidationError) as error:
        raise UserError(
            f"olmOCRBench: the tests of row {row.get('index')} cannot be read ({error}); fetch the TSV again."
        ) from error
    if not found:
        raise UserError(f"olmOCRBench: row {row.get('index')} has no tests; fetch the TSV again.")
    return found


_KIT = {
    "yorn": _yorn,
    "olmocr": _olmocr,
    "vqa": _vqa,
    "mcq": _mcq,
    "ocrbench": _ocrbench,
    "gui": _gui,
    "mmlongbench": _mmlongbench,
}


def _graded(value: Any, text: str) -> Score:
    value = float(value)
    if not math.isfinite(value):
        raise RuntimeError("VLMEvalKit returned a score that is not a number")
    return Score(value, {"text": text[:200]}, "ok" if value == 1 else "wrong" if value == 0 else "partial")


def _one_row(folder: Path, row: JsonObject, text: str) -> str:
    """A prediction file with one row, in a format that keeps text as text (a table turns "007" into 7)."""
    import pandas as pd
    from vlmeval.smp import dump

    path = str(folder / "one.pkl")
    dump(pd.DataFrame([{**row, "prediction": text}]), path)
    return path


def _point_reader(cls: Any) -> Any:
    """The kit sets its reader only when the data are loaded, which scoring one row does not do."""
    import sys

    return sys.modules[cls.__module__].parse_bbox_aguvis
