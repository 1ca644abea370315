"""VLMEvalKit's data sets to samples: its own loading and prompt building, called."""

from __future__ import annotations

import contextlib
import hashlib
import io
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...extras import require
from ...json_values import JsonObject
from ...sample import Sample
from ..spec import TaskSpec
from .catalogue import DATA_ROOT, KIT_TASKS, kit_name
from .table import RAW_INDEX, keep_inside, text_stays_text

LOCAL_TSV = "VTPRUNE_EVAL_LOCAL_TSV"
# Columns that hold pictures: they are dumped to files and do not belong into a target.
_PIXELS = {"image"}


class KitTable:
    """One data set of the kit; pictures are written to ``<folder>/images/`` by the kit when a row is first asked for.

    Attributes:
        ids: the kit's ``index`` of every row as text.
    """

    def __init__(self, folder: Path, spec: TaskSpec) -> None:
        """Load the table.

        Args:
            folder: what the kit calls ``LMUData``.
            spec: definition with ``name`` (of the data set) and ``protocol``.

        Raises:
            UserError: the extra is not installed, the TSV is absent, altered, or lacks a column that the kit needs.
        """
        self._name, self._protocol = kit_name(spec.name), spec.protocol
        require("vlmeval", f"task {self._name}")
        if not folder.is_dir():  # the kit would silently take another one
            raise UserError(
                f"task {self._name}: the folder {folder} does not exist; create it, and {self._name}.tsv "
                "is downloaded into it, or give the folder that holds it with --data-path or LMUData."
            )
        with data_root(folder):
            self._dataset = build(self._name, folder)
        self._kind = kind_of(self._name)
        self.ids = [str(i) for i in self._dataset.data["index"]]
        for i, name in enumerate(self.ids):  # names of files, too, where the table holds no others
            if not name.strip() or "\0" in name:
                raise UserError(f"{self._name}.tsv, row {i + 1}, column index: {name!r} names no sample.")

    def sample(self, i: int) -> Sample:
        """Row ``i`` with the kit's prompt.

        Raises:
            UserError: the kit cannot build its prompt from this row.
        """
        row = self._dataset.data.iloc[i]
        if self._kind != "olmocr" and "question" in row and _is_missing(row["question"]):  # there it is always empty
            raise UserError(f"{self._name}.tsv, row {i + 1}, column question: the cell is empty.")
        try:
            images, question = flatten(quietly(self._dataset.build_prompt, row))
        except UserError:
            raise
        except Exception as error:  # of whatever kind: a table of another format
            raise UserError(
                f"{self._name}.tsv, row {i + 1}: VLMEvalKit cannot build its prompt "
                f"({type(error).__name__}: {error}); fetch the file again."
            ) from error
        values = {str(k): plain(v) for k, v in row.items() if k not in _PIXELS}
        return Sample(
            id=self.ids[i],
            images=tuple(images),
            question=question,
            target={
                "type": "vlmeval",
                "kind": self._kind,
                "dataset": self._name,
                "protocol": self._protocol,
                "row": values,
            },
            cluster=_cluster(row),
            meta={
                k: values[k]
                for k in ("split", "category", "data_type", "ui_type", "doc_type")
                if values.get(k) is not None
            },
        )


def build(name: str, folder: Path) -> Any:
    """The kit's data set object; ``LMUData`` must already point to ``folder``.

    Raises:
        UserError: the TSV is absent and cannot be downloaded, altered, or without a needed column.
    """
    kind = KIT_TASKS[name].kind if name in KIT_TASKS else ""
    path = folder / f"{name}.tsv"
    if kind == "olmocr":
        for module in ("fuzzysearch", "bs4", "rapidfuzz", "playwright"):
            require(module, f"task {name}")
    from vlmeval.dataset import build_dataset

    if kind == "mmlongbench":
        from .mmlongbench import PageByPage

        cls: Any = PageByPage
    else:
        cls = class_of(name)
        kind_of(name)
    check_md5(name, path)
    try:
        with text_stays_text(cls):
            dataset = quietly(cls if cls.__name__ == "PageByPage" else build_dataset, name)
        return settled(dataset, name)
    except UserError:
        raise
    except (KeyError, AssertionError, ValueError) as error:
        raise UserError(
            f"{path} is not in the format of VLMEvalKit ({type(error).__name__}: {error}); fetch the file again."
        ) from error
    except Exception as error:
        if path.exists():
            raise
        raise UserError(
            f"{path} is missing and cannot be downloaded ({error}); connect to the network once, or give "
            "the folder that holds it with --data-path or LMUData."
        ) from error


def settled(dataset: Any, name: str) -> Any:
    """The data set with its rows' own names as ids, and with its pictures written by :func:`.table.files_of`."""
    texts = getattr(dataset.data, "attrs", {}).get(RAW_INDEX)
    ids = [str(i) for i in dataset.data["index"]]
    if texts is not None and len(texts) == len(ids) and ids != texts and all(map(_same_number, ids, texts)):
        dataset.data["index"] = texts  # the kit reads 007 as 7
    if kind_of(name) != "mmlongbench":  # which renders documents
        keep_inside(dataset, name)
    return dataset


def _same_number(one: str, other: str) -> bool:
    return one.isdecimal() and other.isdecimal() and int(other) == int(one)


def class_of(name: str) -> Any:
    """The kit's class of a data set.

    Raises:
        UserError: this version of the kit has none of that name.
    """
    from vlmeval.dataset import DATASET_CLASSES

    found = next((c for c in DATASET_CLASSES if name in c.supported_datasets()), None)
    if found is None:
        raise UserError(f"the installed VLMEvalKit has no data set {name}; install another version of ms-vlmeval.")
    return found


def kind_of(name: str) -> str:
    """Which evaluation of the kit scores one row of a data set: that of the catalogue, else that of its class.

    Raises:
        UserError: the kit's rule needs a judge, or the whole file at once.
    """
    if name in KIT_TASKS:
        return KIT_TASKS[name].kind
    from vlmeval.dataset import image_mcq, image_vqa, image_yorn

    cls = class_of(name)
    for kind, base in (
        ("vqa", image_vqa.ImageVQADataset),
        ("mcq", image_mcq.ImageMCQDataset),
        ("yorn", image_yorn.ImageYORNDataset),
    ):
        circular = kind == "mcq" and any(part in name.lower() for part in ("mmbench", "ccbench", "circular", "mmcr"))
        if issubclass(cls, base) and cls.evaluate is base.evaluate and not circular:
            return kind
    raise UserError(
        f"VLMEvalKit scores {name} with a judge or over the whole file at once, not answer by answer; run the kit on "
        "our model instead (docs/integrations.md)."
    )


def check_md5(name: str, path: Path) -> None:
    """Refuse a TSV that is not the published file: the kit would replace it by a download without asking.

    With ``VTPRUNE_EVAL_LOCAL_TSV=1`` a subset of one's own is accepted as it is, for this process.

    Raises:
        UserError: another MD5 than the kit's.
    """
    cls = class_of(name)
    wanted = getattr(cls, "DATASET_MD5", {}).get(name)
    if wanted is None or not path.exists():
        return
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() == wanted:
        return
    if os.environ.get(LOCAL_TSV) != "1":
        raise UserError(
            f"{path} is not the published file (MD5 {digest.hexdigest()}, {wanted} expected): move it away "
            f"to have it downloaded again, or set {LOCAL_TSV}=1 to use it as a subset of your own."
        )
    del cls.DATASET_MD5[name]


def flatten(message: Sequence[JsonObject]) -> tuple[list[Path], str]:
    """Images in order, and all texts joined by line breaks behind them: the form that our prompt has.

    A system prompt becomes the first text. A text before an image moves behind it; both directions of the integration
    do this alike.

    Raises:
        ValueError: a kind of item that is neither text nor image.
    """
    for item in message:
        if item["type"] not in ("text", "image"):
            raise ValueError(f"an item of type {item['type']!r}; only text and images are supported")
    images = [Path(m["value"]) for m in message if m["type"] == "image"]
    return images, "\n".join(str(m["value"]) for m in message if m["type"] == "text")


def plain(value: Any) -> Any:
    """A cell as a plain JSON value; a missing one is None."""
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if hasattr(value, "item"):  # a number of numpy
        value = value.item()
    if isinstance(value, float) and math.isnan(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def quietly(call: Any, *args: Any, **kwargs: Any) -> Any:
    """The kit prints progress bars, paths and scores, to both outputs."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return call(*args, **kwargs)


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _cluster(row: Any) -> str | None:
    """Questions about one document or one picture are not independent."""
    if "doc_id" in row:
        return str(row["doc_id"])
    if "image" in row:
        return hashlib.sha256(str(row["image"]).encode()).hexdigest()[:12]
    return str(row["image_path"]) if "image_path" in row else None


@contextmanager
def data_root(folder: Path) -> Iterator[None]:
    """The kit reads its data folder from the environment when a data set is built."""
    before = os.environ.get(DATA_ROOT)
    os.environ[DATA_ROOT] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ[DATA_ROOT]
        else:
            os.environ[DATA_ROOT] = before
