"""Write ``docs/methods.md`` from the registry: ``python scripts/methods_page.py [--check]``.

``--check`` writes nothing and exits with 1 where the page is not current.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from vtprune_eval.methods.base import HOOKS, Method
from vtprune_eval.registry import method_class, method_names

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"
STAGES = {
    "reduce_images": "images",
    "select_patches": "patches, before the ViT",
    "merge_patches": "blocks, inside the ViT",
    "select_tokens": "tokens, after the ViT",
    "prune_layer": "decoder layers",
    "compress_kv": "KV cache",
}
ORIGINS = {
    "vectors": "equal to the authors' outputs",
    "port": "written from published code",
    "paper": "from the text alone",
    "own": "this project's",
}
HEAD = """# Methods

Made by `python scripts/methods_page.py` from the registry; do not edit. `python -m vtprune_eval explain --method NAME`
prints a method's hyper-parameters and every difference from the published code.

- **Question**: does the question decide, too, what stays?
- **Trained**: does the method need weights that were trained for it?
- **Checked against**: *equal to the authors' outputs* means that the maths of the method agrees with recorded outputs
  of the authors' code (or of the library named at the method) on every golden vector (`scripts/check_golden.py`);
  what differs around the maths, such as where tokens stand in the prompt, is listed by `explain`.

`kvpress:NAME` (`kvpress:knorm`) runs a scoring press of NVIDIA's kvpress through the cache hook, with our budget,
window and counting. Its release 0.5.5 asks for `transformers<5.3` and this project for 5.20 or later: install it
beside with `pip install --no-deps kvpress` and the packages that it then misses.

RESTORE (Cho et al., arXiv 2606.01711, ICML 2026) is not here as a rectifier of any selector: it is more than a repair
of positions, which every method here keeps anyway; it also raises the decoder's attention weights by relative distance
and merges into anchors of its own choice.

A plus sign composes methods (`pixelprune+snapkv`), so PruMerge+ and SparseVLM+ are spelled `prumerge-plus` and
`sparsevlm-plus`. A file's name is its method's name, with `_` for `-`.
"""


def classes() -> list[type[Method]]:
    """Every built-in method, by stage along the data flow, then by name."""
    found = [method_class(name) for name, source in method_names().items() if source == "builtin"]
    order = {hook: i for i, hook in enumerate(HOOKS)}
    return sorted(found, key=lambda c: (order[c.hooks()[-1]] if c.hooks() else -1, c.name))


def stage_of(cls: type[Method]) -> str:
    """The stages of a method in words."""
    return " and ".join(STAGES[h] for h in cls.hooks()) or "none"


def page() -> str:
    """The whole page."""
    rows = ["| method | what | stage | question | trained | checked against | paper | year |", "|" + "---|" * 8]
    for cls in classes():
        cells = (
            f"`{cls.name}`",
            (inspect.getdoc(cls) or "").splitlines()[0].rstrip("."),
            stage_of(cls),
            "yes" if cls.query_aware else "no",
            "yes" if cls.trained else "no",
            ORIGINS[cls.origin],
            cls.paper or "-",
            str(cls.year or "-"),
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return HEAD + "\n" + "\n".join(rows) + "\n"


def main(argv: list[str] | None = None) -> int:
    """Write the page, or compare it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare only; exit code 1 where the page is old")
    if parser.parse_args(argv).check:
        if PAGE.read_text(encoding="utf-8") == page():
            return 0
        print("docs/methods.md is not current: run python scripts/methods_page.py", file=sys.stderr)
        return 1
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
