"""Pages of the training split as a file of JSON lines for ``train``: no page and no word of the evaluation suite.

    python scripts/training_data.py --out DATA --sheets 24 --seed 11

Writes DATA/pages.jsonl and DATA/images. Sheets are rendered as in the training of nano (``scripts/nano/pool.py``), the
questions are its questions about single screens. Started again, it renders only what is missing.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from nano.batches import page_questions
from nano.pool import Pool, fill
from PIL import Image

KINDS = ("ui", "form", "table", "bars")
SIZES = ("pane", "square", "phone")


def lines(pool: Pool, folder: Path, questions: int, seed: int) -> list[dict]:
    """One record per question; images are written below ``folder``."""
    rng, out, seen = random.Random(seed), [], 0
    for (size, kind), sheets in sorted(pool.sheets.items()):
        if size not in SIZES or kind not in KINDS:
            continue
        for images, facts in sheets:
            for image, page in zip(images, facts, strict=True):
                pairs = page_questions(page, (image.shape[1], image.shape[0]))
                if not pairs:
                    continue
                name = f"images/{seen:05d}-{size}-{kind}.png"
                seen += 1
                if not (folder / name).exists():
                    Image.fromarray(image).save(folder / name)
                for number, (question, answer, check) in enumerate(rng.sample(pairs, min(questions, len(pairs)))):
                    record = {"id": f"{name[7:-4]}-{number}", "images": [name], "question": question, "answer": answer}
                    if check[0] == "box":
                        record["box_xyxy"] = check[1]
                    out.append(record)
    return out


def main() -> int:
    """Render, then write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheets", type=int, default=24, help="sheets to render; a sheet holds many pages")
    parser.add_argument("--questions", type=int, default=6, help="per page, at most")
    parser.add_argument("--seed", type=int, default=11, help="not 7, with which nano was trained")
    args = parser.parse_args()
    (args.out / "images").mkdir(parents=True, exist_ok=True)
    fill(args.out / "pool", args.sheets, args.seed)
    pool = Pool(args.out / "pool")
    pool.refresh()
    records = lines(pool, args.out, args.questions, args.seed)
    (args.out / "pages.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    print(
        f"{len(records)} questions about {len({r['images'][0] for r in records})} pages in {args.out / 'pages.jsonl'}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
