"""Where PixelPrune's from-scratch training starts: Qwen3-VL-2B whose decoder is Qwen3-1.7B (Tables 3, 5 and 11).

    python scripts/scratch_start.py --vision QWEN3_VL_2B --text QWEN3_1_7B --out START

Both folders are hub-format (Qwen/Qwen3-VL-2B-Instruct, Qwen/Qwen3-1.7B). The two decoders have the same shapes; every
tensor of the text model must find its place, or nothing is written.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path


def put_together(vision: Path, text: Path, out: Path) -> int:
    """Write ``out``; returns the number of tensors that were replaced.

    Raises:
        SystemExit: a tensor without a place, or of another shape.
    """
    import torch
    from transformers import AutoModelForCausalLM, Qwen3VLForConditionalGeneration

    model = Qwen3VLForConditionalGeneration.from_pretrained(vision, dtype=torch.bfloat16, local_files_only=True)
    words = AutoModelForCausalLM.from_pretrained(text, dtype=torch.bfloat16, local_files_only=True)
    given = {k.removeprefix("model."): v for k, v in words.state_dict().items() if k.startswith("model.")}
    wanted = model.model.language_model.state_dict()
    wrong = sorted(
        k for k in {*given, *wanted} if k not in given or k not in wanted or given[k].shape != wanted[k].shape
    )
    if wrong:
        raise SystemExit(
            f"{text} does not fit the decoder of {vision}: {', '.join(wrong[:3])}; give Qwen3-1.7B for 2B."
        )
    model.model.language_model.load_state_dict(given)
    if not model.config.tie_word_embeddings:
        model.lm_head.load_state_dict(words.lm_head.state_dict())
    model.tie_weights()
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    for file in vision.iterdir():
        if file.is_file() and file.suffix != ".safetensors" and not file.name.endswith(".index.json"):
            shutil.copy(file, out / file.name)
    return len(given)


def main() -> int:
    """Put together and say so."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vision", type=Path, required=True)
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    n = put_together(args.vision, args.text, args.out)
    print(f"{args.out}: the vision encoder and mergers of {args.vision}, {n} tensors of {args.text}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
