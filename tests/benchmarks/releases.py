"""The Google releases and the parquet release in small: written field by field, without TensorFlow."""

from __future__ import annotations

import gzip
import io
import json
import struct
from pathlib import Path
from typing import Any

from PIL import Image

from vtprune_eval.benchmarks.formats.tfrecord import masked_crc32c


def varint(n: int) -> bytes:
    n &= (1 << 64) - 1
    out = b""
    while n > 0x7F:
        out += bytes([n & 0x7F | 0x80])
        n >>= 7
    return out + bytes([n])


def sized(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


def whole(number: int, n: int) -> bytes:
    return varint(number << 3) + varint(n)


def feature(values: list[Any], *, packed: bool = True) -> bytes:
    if values and isinstance(values[0], float):
        return sized(2, sized(1, struct.pack(f"<{len(values)}f", *values)))
    if values and isinstance(values[0], int):
        return sized(3, sized(1, b"".join(map(varint, values))) if packed else b"".join(whole(1, v) for v in values))
    return sized(1, b"".join(sized(1, v if isinstance(v, bytes) else v.encode()) for v in values))


def example(features: dict[str, list[Any]]) -> bytes:
    return sized(
        1,
        b"".join(
            sized(1, sized(1, k.encode()) + sized(2, feature(v, packed=len(k) % 2 == 0))) for k, v in features.items()
        ),
    )


def write(path: Path, records: list[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(path, "wb") as out:
        for data in records:
            head = struct.pack("<Q", len(data))
            out.write(head + struct.pack("<I", masked_crc32c(head)) + data + struct.pack("<I", masked_crc32c(data)))


def png(colour: tuple[int, int, int], size=(54, 120), form: str = "png") -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, form)
    return out.getvalue()


def node(box: tuple[int, int, int, int], text: str = "", about: str = "") -> bytes:
    rect = b"".join(whole(i, v) for i, v in enumerate(box, 1) if v)
    return whole(1, 7) + sized(2, rect) + sized(4, about.encode()) + sized(7, text.encode()) + whole(14, 1)


def androidcontrol(folder: Path) -> None:
    tree = sized(1, sized(11, sized(1, node((0, 0, 54, 120))) + sized(1, node((-5, 20, 30, 40), "Suche", "über"))))
    actions = [{"action_type": "click", "x": 20, "y": 30}, {"action_type": "input_text", "text": "coffee"}]
    for shard, episodes in (("00000-of-00002", (3, 5)), ("00001-of-00002", (8,))):
        write(
            folder / f"android_control-{shard}",
            [
                example(
                    {
                        "episode_id": [e],
                        "goal": [f"goal {e}"],
                        "screenshots": [png((e, k, 0)) for k in range(3)],
                        "accessibility_trees": [tree] * 3,
                        "screenshot_widths": [54] * 3,
                        "screenshot_heights": [120] * 3,
                        "actions": [json.dumps(a) for a in actions],
                        "step_instructions": ["tap it", "type it"],
                    }
                )
                for e in episodes
            ],
        )
    (folder / "splits.json").write_text(json.dumps({"train": [3], "validation": [], "test": [5, 8]}))
    (folder / "test_subsplits.json").write_text(json.dumps({"IDD": [5], "app_unseen": [8, 5]}))


def aitw(folder: Path) -> None:
    def step(episode: str, n: int, kind: int, touch: list[float], lift: list[float], text: str = "") -> bytes:
        return example(
            {
                "episode_id": [episode],
                "step_id": [n],
                "episode_length": [2],
                "goal_info": ["open it"],
                "image/height": [4],
                "image/width": [3],
                "image/channels": [3],
                "image/encoded": [bytes(range(36))],
                "image/ui_annotations_positions": [0.25, 0.5, 0.125, 0.25],
                "results/action_type": [kind],
                "results/type_action": [text],
                "results/yx_touch": touch,
                "results/yx_lift": lift,
            }
        )

    # Steps of two episodes mixed, the later one first.
    write(
        folder / "general" / "general-00000-of-00001",
        [
            step("a", 1, 3, [-1.0, -1.0], [-1.0, -1.0], "Hi"),
            step("b", 0, 4, [0.75, 0.5], [0.25, 0.5]),
            step("a", 0, 4, [0.25, 0.5], [0.25, 0.5]),
        ],
    )
    write(folder / "single" / "single-00000-of-00001", [step("c", 0, 6, [-1.0, -1.0], [-1.0, -1.0])])


def mind2web(folder: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    def candidate(x: float) -> str:
        return json.dumps({"tag": "a", "attributes": json.dumps({"bounding_box_rect": f"{x},20,30,10"})})

    rows = [
        {
            "annotation_id": "an",
            "action_uid": f"u{n}",
            "raw_html": "<html>",
            "confirmed_task": "book it",
            "website": "w",
            "operation": json.dumps({"original_op": op, "value": value, "op": op}),
            "domain": "Travel",
            "pos_candidates": [candidate(10.5), candidate(50)] if n != 2 else [],
            "target_action_index": str(n),
            "action_reprs": ["first", "second", "third"],
            "screenshot": {"bytes": png((n, 0, 0), (100, 400), "jpeg") if n != 1 else None, "path": None},
        }
        for n, (op, value) in enumerate([("CLICK", ""), ("TYPE", "new york"), ("SELECT", "two")])
    ]
    folder.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(
        pyarrow.Table.from_pylist(rows), folder / "test_task-00000-of-00001.parquet", row_group_size=2
    )
