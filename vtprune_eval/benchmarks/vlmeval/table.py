"""A TSV of the kit as text, and its pictures as files that stay in their folder.

The kit lets pandas guess: "None" and "NA" become missing values, "007" the number 7; its rows without a picture
disappear, its cells that look like lists are evaluated as Python, and a row's ``index`` or ``image_path`` may name any
file of the machine. Here a table is data: text stays text, a cell is a literal or it is text, every row is a sample,
and names are checked by :func:`~vtprune_eval.paths.inside_folder`.
"""

from __future__ import annotations

import ast
import base64
import binascii
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...paths import inside_folder

RAW_INDEX = "vtprune_index"
_WHOLE = re.compile(r"-?(0|[1-9]\d{0,15})")
# The kit takes a picture of at most 64 characters for the index of another row.
_REFERENCE = 64
_NO_PICTURE = "this row has no picture; " * 4


def read_table(path: str | Path) -> Any:
    """The TSV as a data frame: numbers only where every cell of a column is one and is written as Python writes it.

    An empty cell is missing, as for the kit; a picture that is missing or refers to no other row becomes a text that is
    no picture, so that its row stays and fails by itself.
    """
    import csv

    import pandas as pd

    csv.field_size_limit(sys.maxsize)
    data = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, na_values=[""])
    texts = [str(i) for i in data["index"]] if "index" in data else []
    for name in data.columns:
        cells = () if name in ("image", "image_path") or data[name].isna().any() else data[name]
        if len(cells) and all(_WHOLE.fullmatch(cell) and cell != "-0" for cell in cells):
            data[name] = data[name].astype("int64")
    if "index" in data:
        data.attrs[RAW_INDEX] = texts
    if "image" in data and "index" in data:
        data["image"] = _pictures([str(i) for i in data["index"]], list(data["image"]))
    return data


def _pictures(index: list[str], cells: list[Any]) -> list[str]:
    whole = {i for i, cell in zip(index, cells, strict=True) if isinstance(cell, str) and len(cell) > _REFERENCE}
    return [
        cell
        if isinstance(cell, str) and (cell in whole or (len(cell) > _REFERENCE and _is_literal(cell)))
        else _NO_PICTURE
        for cell in cells
    ]


def _is_literal(cell: str) -> bool:
    """False for what looks like a list of pictures and is none."""
    if not (cell.startswith("[") and cell.endswith("]")):
        return True
    try:
        return isinstance(ast.literal_eval(cell), list)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return False


@contextmanager
def text_stays_text(cls: Any) -> Iterator[None]:
    """While a data set of ``cls`` is built, its modules read tables with :func:`read_table` and evaluate literals only.

    The second holds afterwards, too: scoring a row evaluates its annotation.
    """
    from vlmeval.smp import misc

    modules: list[Any] = [sys.modules[c.__module__] for c in cls.__mro__ if c.__module__.startswith("vlmeval.")]
    from vlmeval.dataset.utils import vqa_eval

    for module in {*modules, misc, vqa_eval}:
        module.eval = ast.literal_eval  # found before the builtin of that name
    loaders = [(module, module.load) for module in set(modules) if hasattr(module, "load")]
    for module, load in loaders:
        module.load = lambda path, *args, _load=load, **kwargs: (
            read_table(path) if str(path).endswith(".tsv") else _load(path, *args, **kwargs)
        )
    try:
        yield
    finally:
        for module, load in loaders:
            module.load = load


def files_of(dataset: Any, row: Any, where: str) -> list[Path]:
    """The pictures of a row as files below the data set's image folder, under the names that the kit gives them.

    What stands in the table is written byte by byte, unless the file holds these bytes already; a cell that is no
    base64 becomes a file that is no picture. Without pictures in the table the files are where ``image_path`` says.

    Raises:
        UserError: a name that leads out of the folder, or a picture that cannot be written.
    """
    root = Path(dataset.img_root)
    cells = row.get("image")
    if "image_path" in row and _present(row["image_path"]):
        names = row["image_path"] if isinstance(row["image_path"], list) else [row["image_path"]]
    else:
        names = (
            [f"{row['index']}_{i}.png" for i in range(len(cells))]
            if isinstance(cells, list)
            else [f"{row['index']}.png"]
        )
    paths = [inside_folder(root, _relative(str(name), root), where) for name in names]
    if cells is not None:
        for path, cell in zip(paths, cells if isinstance(cells, list) else [cells], strict=False):
            _write(path, _bytes_of(str(cell)))
    return paths


def keep_inside(dataset: Any, name: str) -> None:
    """Let a data set of the kit write and name its pictures by :func:`files_of`."""
    numbers = {i: n for n, i in enumerate(map(str, dataset.data["index"]), 1)}
    dataset.meta_only = False
    dataset.dump_image = lambda row: [
        str(p) for p in files_of(dataset, row, f"{name}.tsv, row {numbers.get(str(row['index']), '?')}")
    ]


def _present(cell: Any) -> bool:
    return isinstance(cell, list) or (isinstance(cell, str) and bool(cell.strip()))


def _relative(name: str, root: Path) -> str:
    """A name below ``root``: the kit writes absolute paths into tables that it unpacks itself."""
    path = os.path.normpath(name)
    return os.path.relpath(path, root) if os.path.isabs(name) and Path(path).is_relative_to(root) else name


def _bytes_of(cell: str) -> bytes:
    try:
        return base64.b64decode(cell)
    except (binascii.Error, ValueError):
        return cell.encode("utf-8", "replace")


def _write(path: Path, content: bytes) -> None:
    try:
        if path.is_file() and path.stat().st_size == len(content) and path.read_bytes() == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name[-100:]}.{os.getpid()}.part")
        part.write_bytes(content)
        part.replace(path)
    except OSError as error:
        raise UserError(
            f"{path} cannot be written ({error.strerror}); give the kit's data a folder that may be written."
        ) from None
