"""MMLongBench-Doc without the kit's list of models: every page an image of its own, rendered here.

The kit's class asks for a keyword that its builder filters out, accepts a fixed list of model names, and glues pages
together for them. The table, the prompt and the comparison of answers are the kit's.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

from vlmeval.dataset.image_base import ImageBaseDataset

try:  # its name since the kit has another benchmark called MMLongBench
    from vlmeval.dataset.mmlongbenchdoc import MMLongBenchDoc, eval_score
except ImportError:
    from vlmeval.dataset.mmlongbench import MMLongBench as MMLongBenchDoc
    from vlmeval.dataset.mmlongbench import eval_score

from ...errors import UserError
from ...extras import require
from ...paths import inside_folder

__all__ = ["PageByPage", "eval_score", "render"]
MAX_PAGES = 120
DPI = 144


class PageByPage(MMLongBenchDoc):
    """Any model; at most 120 pages at 144 dpi, one image each, none concatenated."""

    @classmethod
    def supported_datasets(cls) -> list[str]:
        """This one alone: the kit's class may have others by now."""
        return ["MMLongBench_DOC"]

    def __init__(self, dataset: str = "MMLongBench_DOC", **_: Any) -> None:
        """Read the table; what the kit's builder passes to its own class is not needed."""
        ImageBaseDataset.__init__(self, dataset)

    def dump_image(self, line: Any) -> list[str]:
        """Paths of the rendered pages; what is there already is not rendered again.

        Raises:
            UserError: the renderer is not installed, or the row does not hold a PDF.
        """
        names = line["image_path"]
        names = [names] if isinstance(names, str) else list(names)
        paths = [inside_folder(Path(self.img_root), Path(n).name, self.dataset_name) for n in names[:MAX_PAGES]]
        if not all(p.exists() for p in paths):
            render(base64.b64decode(line["image"]), paths, str(line["doc_id"]))
        return [str(p) for p in paths]


def render(pdf: bytes, paths: list[Path], document: str) -> None:
    """Write the first pages of a PDF, one per path; a page appears under its name only when it is whole.

    Raises:
        UserError: the renderer is not installed, or ``pdf`` cannot be read, or has fewer pages than named.
    """
    require("pypdfium2", "task MMLongBench_DOC")
    import pypdfium2

    try:
        pages = pypdfium2.PdfDocument(pdf)
    except pypdfium2.PdfiumError as error:
        raise UserError(f"MMLongBench_DOC: {document} is not a readable PDF ({error}); fetch the TSV again.") from None
    if len(pages) < len(paths):
        raise UserError(
            f"MMLongBench_DOC: {document} has {len(pages)} pages, {len(paths)} are named; fetch the TSV again."
        )
    for path, page in zip(paths, pages, strict=False):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        image = page.render(scale=DPI / 72).to_pil().convert("RGB")
        image.save(part, format="PNG" if path.suffix == ".png" else "JPEG")
        os.replace(part, path)
