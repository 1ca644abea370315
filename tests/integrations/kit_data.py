"""Small TSVs in VLMEvalKit's true format, under a temporary LMUData."""

import base64
import csv
import io
import json
from pathlib import Path

from PIL import Image

from tests.conftest import screen


def png(width=96, height=64, seed=0) -> str:
    """A picture as base64."""
    stream = io.BytesIO()
    Image.fromarray(screen(width, height, seed)).save(stream, format="PNG")
    return base64.b64encode(stream.getvalue()).decode()


def write(folder: Path, name: str, rows: list[dict]) -> Path:
    """``<name>.tsv`` with the columns of the first row."""
    path = folder / f"{name}.tsv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        out = csv.DictWriter(stream, fieldnames=list(rows[0]), delimiter="\t", quoting=csv.QUOTE_ALL)
        out.writeheader()
        out.writerows(rows)
    return path


def docvqa(folder: Path, name="DocVQA_VAL") -> list[dict]:
    """Three questions; the second refers to the picture of the first by its index."""
    rows = [
        {"index": 7, "image": png(seed=1), "question": "who signed?", "answer": "['Ann Lee', 'A. Lee']"},
        {"index": 8, "image": "7", "question": "which year?", "answer": "['1998']"},
        {"index": 9, "image": png(128, 64, 2), "question": "where?", "answer": "['Bern']"},
    ]
    write(folder, name, rows)
    return rows


def chartqa(folder: Path) -> None:
    write(
        folder,
        "ChartQA_TEST",
        [
            {"index": 0, "image": png(seed=3), "question": "how much?", "answer": "['20']", "split": "test_human"},
            {"index": 1, "image": png(seed=4), "question": "which?", "answer": "['Peru']", "split": "test_augmented"},
            {"index": 2, "image": png(seed=5), "question": "share?", "answer": "['14%']", "split": "test_augmented"},
        ],
    )


def ocrbench(folder: Path) -> None:
    write(
        folder,
        "OCRBench",
        [
            {
                "index": 0,
                "image": png(seed=6),
                "question": "read",
                "answer": "['STOP']",
                "category": "Regular Text Recognition",
                "dataset": "a",
            },
            {
                "index": 1,
                "image": png(seed=7),
                "question": "formula",
                "answer": "['x ^ 2']",
                "category": "Handwritten Mathematical Expression Recognition",
                "dataset": "b",
            },
        ],
    )


def ai2d(folder: Path) -> None:
    write(
        folder,
        "AI2D_TEST",
        [
            {
                "index": i,
                "image": png(seed=8 + i),
                "question": f"what is {i}?",
                "A": "root",
                "B": "stem",
                "C": "leaf",
                "D": "",
                "answer": answer,
                "category": "plants",
            }
            for i, answer in enumerate("BCA")
        ],
    )


def screenspot(folder: Path, name="ScreenSpot_v2_Mobile") -> None:
    """Boxes are left, top, width, height in pixels of a 100 x 50 picture."""
    write(
        folder,
        name,
        [
            {
                "index": i,
                "image": png(100, 50, 20 + i),
                "image_path": f"m{i}.png",
                "question": f"open {i}",
                "bbox": str(box),
                "data_type": kind,
                "data_source": "ios",
                "split": "test",
            }
            for i, (box, kind) in enumerate(
                [([10, 10, 20, 10], "text"), ([50, 20, 10, 10], "icon"), ([80, 30, 10, 10], "icon")]
            )
        ],
    )


def screenspot_pro(folder: Path) -> None:
    """Boxes are two corners in pixels."""
    write(
        folder,
        "ScreenSpot_Pro_CAD",
        [
            {
                "index": i,
                "image": png(100, 50, 30 + i),
                "image_path": f"p{i}.png",
                "question": f"find {i}",
                "bbox": str(box),
                "ui_type": kind,
                "application": "cad",
                "category": "CAD",
                "platform": "windows",
            }
            for i, (box, kind) in enumerate([([10, 10, 30, 20], "text"), ([50, 20, 60, 30], "icon")])
        ],
    )


def osworld_g(folder: Path) -> None:
    """Boxes are left, top, width, height in pixels."""
    write(
        folder,
        "OSWorld_G",
        [
            {
                "index": i,
                "image": png(100, 50, 40 + i),
                "image_path": f"o{i}.png",
                "question": f"click {i}",
                "bbox": str(box),
                "ui_type": "text",
                "application": "os",
                "category": "layout",
            }
            for i, box in enumerate([[40, 20, 20, 10], [0, 0, 10, 10]])
        ],
    )


def pdf(n_pages: int) -> str:
    """A PDF of blank pages as base64."""
    pages = [Image.new("RGB", (144, 72), (40 * i, 90, 120)) for i in range(n_pages)]
    stream = io.BytesIO()
    pages[0].save(stream, format="PDF", save_all=True, append_images=pages[1:])
    return base64.b64encode(stream.getvalue()).decode()


def mmlongbench(folder: Path) -> None:
    """One document of two pages, three questions."""
    content = pdf(2)
    write(
        folder,
        "MMLongBench_DOC",
        [
            {
                "index": i,
                "image": content,
                "image_path": "['d_1.jpg', 'd_2.jpg']",
                "doc_id": "d.pdf",
                "doc_type": "report",
                "question": f"q{i}",
                "answer": answer,
                "answer_format": form,
                "evidence_pages": "[1]",
                "evidence_sources": "['Table']",
            }
            for i, (answer, form) in enumerate([("12", "Int"), ("['a', 'b']", "List"), ("Not answerable", "None")])
        ],
    )


def olmocr(folder: Path) -> None:
    """Two pages with unit tests of every kind that needs no browser."""

    def test(pdf, kind, **own):
        return {"pdf": pdf, "page": 1, "id": f"{pdf}_{kind}", "type": kind, "max_diffs": 0, **own}

    a, b = "multi_column/a_pg1.pdf", "tables/b_pg1.pdf"
    write(
        folder,
        "olmOCRBench",
        [
            {
                "index": 0,
                "image": png(seed=50),
                "question": "",
                "pdf": a,
                "answer": json.dumps(
                    [
                        test(a, "present", text="gradient descent"),
                        test(a, "absent", text="page 7 of 9"),
                        test(a, "order", before="first part", after="second part"),
                    ]
                ),
            },
            {
                "index": 1,
                "image": png(seed=51),
                "question": "",
                "pdf": b,
                "answer": json.dumps([test(b, "table", cell="42", left="width")]),
            },
        ],
    )
