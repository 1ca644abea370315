"""Small data sets in the exact original formats: field names, nesting, units, encodings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from PIL import Image

PHONE, DESK = (540, 1200), (960, 540)


def picture(path: Path, size: tuple[int, int], mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, (40, 90, 160, 255)[: len(mode)]).save(path)


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False), encoding="utf-8")


def aitw_seeclick(folder: Path) -> None:
    """Two subsets; a click, a scroll, typing, a button, completion; one episode with an accent and an emoji."""

    def step(
        subset: str,
        episode: str,
        n: int,
        kind: int,
        word: str,
        touch: Any,
        lift: Any,
        text: str = "",
        boxes: Any = (0.70, 0.40, 0.10, 0.20),
    ) -> dict[str, Any]:
        picture(folder / "aitw_images" / subset / f"{episode}_{n}.png", PHONE)
        return {
            "ep_id": episode,
            "img_filename": f"{subset}/{episode}_{n}",
            "goal": f"Où est le café \U0001f600 {subset}?",
            "action_type_id": kind,
            "action_type_text": word,
            "touch": touch,
            "lift": lift,
            "type_text": text,
            "annot_position": list(boxes),
            "action_addition": "...",
        }

    write(
        folder / "aitw_data_test.json",
        {
            "general": [
                [
                    step("general", "104", 0, 4, "click", [0.5, 0.75], [0.5, 0.75]),
                    step("general", "104", 1, 3, "type", [-1.0, -1.0], [-1.0, -1.0], "Pizza"),
                    step("general", "104", 2, 4, "scroll down", [0.5, 0.7], [0.5, 0.3]),
                    step("general", "104", 3, 10, "status task complete", [-1.0, -1.0], [-1.0, -1.0]),
                ]
            ],
            "single": [
                [step("single", "7", 0, 6, "press home", [-1.0, -1.0], [-1.0, -1.0], boxes=())],
                [step("single", "8", 0, 4, "click", [0.1, 0.1], [0.1, 0.1], boxes=())],
            ],
        },
    )


def aitz(folder: Path) -> None:
    """One episode of Android in the Zoo below ``test/``: boxes in pixels, texts of lists, y first."""
    below = folder / "test" / "install" / "INSTALL-55"
    steps = []
    for n, (kind, touch, lift, text) in enumerate(
        [
            (4, "[0.25, 0.5]", "[0.25, 0.5]", ""),
            (4, "[0.3, 0.5]", "[0.7, 0.5]", ""),
            (3, "[-1.0, -1.0]", "[-1.0, -1.0]", "maps"),
        ]
    ):
        picture(below / f"INSTALL-55_{n}.png", PHONE)
        steps.append(
            {
                "episode_id": "55",
                "episode_length": 3,
                "step_id": n,
                "instruction": "install maps",
                "ui_positions": "[[280, 250, 40, 60], [1000, 20, 30, 30]]",
                "ui_text": "[]",
                "ui_types": "[]",
                "result_action_type": kind,
                "result_action_text": text,
                "result_touch_yx": touch,
                "result_lift_yx": lift,
                "image_path": f"install/INSTALL-55/INSTALL-55_{n}.png",
                "coat_action_desc": f"did {n}",
            }
        )
    write(below / "INSTALL-55.json", steps)


ACTIONS = [
    {"action_type": "open_app", "app_name": "Zoho Meeting"},
    {"action_type": "click", "x": 270, "y": 600},
    {"action_type": "type_text", "x": 270, "y": 600, "text": "coffee"},
    {"action_type": "scroll", "direction": "down"},
    {"action_type": "navigate_back"},
    {"action_type": "navigate_home"},
    {"action_type": "wait"},
    {"action_type": "long_press", "x": 100, "y": 100},
    {"action_type": "status", "goal_status": "successful"},
    {"action_type": "status", "goal_status": "infeasible"},
]


def androidcontrol(folder: Path) -> None:
    """UGround's sample: one episode with every action type; nested node lists."""
    nodes = [
        {"bbox_pixels": {"x_min": 0, "y_min": 0, "x_max": 540, "y_max": 1200}, "text": "", "content_description": None},
        [
            {
                "bbox_pixels": {"x_min": 200, "y_min": 550, "x_max": 340, "y_max": 650},
                "text": "Search",
                "content_description": "",
            }
        ],
        {
            "bbox_pixels": {"x_min": 80, "y_min": 80, "x_max": 120, "y_max": 120},
            "text": "Back",
            "content_description": "Back",
        },
        {
            "bbox_pixels": {"x_min": 400, "y_min": 900, "x_max": 500, "y_max": 980},
            "text": "Zoho Meeting",
            "content_description": "",
        },
    ]
    rows = []
    for n, action in enumerate(ACTIONS):
        picture(folder / "AndroidControl_images" / "17" / f"screenshot_{n}.png", PHONE)
        rows.append(
            {
                "episode_id": 17,
                "step": n,
                "goal": "Order a coffee",
                "step_instruction": f"do part {n}",
                "previous_actions": [f"did part {k}" for k in range(n)],
                "screenshot": f"17/screenshot_{n}.png",
                "action": action,
                "accessibility_tree": nodes,
            }
        )
    write(folder / "500_steps.json", rows)


ODYSSEY_STEPS = [
    ("CLICK", [[512, 233]], [430, 210, 600, 255], "CLICK: (512, 233)"),
    ("CLICK", "KEY_HOME", [], "PRESS_HOME"),
    ("CLICK", "KEY_BACK", [], "PRESS_BACK"),
    ("CLICK", "KEY_APPSELECT", [], "PRESS_RECENT"),
    ("LONG_PRESS", [[100, 900]], [80, 880, 130, 930], "LONG_PRESS: (100, 900)"),
    ("SCROLL", [[500, 800], [510, 200]], [], "SCROLL: UP"),
    ("SCROLL", [[200, 500], [700, 480]], [], "SCROLL: RIGHT"),
    ("TEXT", "pizza near me", [], "TYPE: pizza near me"),
    ("COMPLETE", "", [], "COMPLETE"),
    ("INCOMPLETE", "", [], "IMPOSSIBLE"),
]


def gui_odyssey(folder: Path) -> None:
    """Two episodes, of which one is in the test list of the random split."""
    for name in ("0001", "0002"):
        steps = []
        for n, (action, info, box, _) in enumerate(ODYSSEY_STEPS):
            picture(folder / "screenshots" / f"{name}_{n}.png", PHONE)
            steps.append(
                {
                    "step": n,
                    "screenshot": f"{name}_{n}.png",
                    "action": action,
                    "info": info,
                    "ps": "",
                    "description": "",
                    "intention": "",
                    "context": "",
                    "low_level_instruction": f"part {n}",
                    "sam2_bbox": box,
                }
            )
        write(
            folder / "annotations" / f"{name}.json",
            {
                "episode_id": name,
                "device_info": {"device_name": "Pixel 7 Pro", "h": 1200, "w": 540},
                "task_info": {
                    "category": "Multi_Apps",
                    "app": ["a"],
                    "meta_task": "",
                    "task": "",
                    "instruction": "Share it",
                },
                "step_length": len(steps),
                "steps": steps,
            },
        )
    write(folder / "splits" / "random_split.json", {"train": ["0001.json"], "test": ["0002.json"]})


def agentnetbench(folder: Path) -> None:
    """One task with a gap in its step numbers, a scroll as two actions and an alternative."""
    box = {"category_id": 1, "rel_bbox": [0.4, 0.4, 0.2, 0.1], "abs_bbox": [384, 216, 192, 54], "area": 10368}
    click = {"type": "click", "params": {"position": {"x": 0.5, "y": 0.45}}, "metadata": {"bboxes": [box]}}
    actions = [
        ([click], []),
        ([{"type": "write", "params": {"content": "George Orwell"}}], []),
        ([{"type": "hotkey", "params": {"keys": ["ctrl", "c"]}}], [[click]]),
        (
            [
                {"type": "moveTo", "params": {"position": {"x": 0.5, "y": 0.5}}},
                {"type": "scroll", "params": {"amount": -5}},
            ],
            [],
        ),
        ([{"type": "terminate", "params": {"status": "success"}}], []),
    ]
    steps = []
    for n, (truth, other) in zip((0, 1, 3, 4, 9), actions, strict=True):
        picture(folder / "images" / f"s_1_{n}.png", DESK)
        steps.append(
            {
                "step_num": n,
                "image": f"s_1_{n}.png",
                "action": "pyautogui...",
                "milestone": n == 3,
                "inner_monologue": {"observation": "", "thought": "", "low_level_instruction": f"do {n}"},
                "ground_truth_actions": truth,
                **({"alternative_options": other} if other else {}),
            }
        )
    write(
        folder / "s_1.json",
        {
            "task_id": "s_1",
            "user_task_description": "u",
            "steps": steps,
            "high_level_task_description": "find the author",
            "meta_info": {"domain": "Daily", "system": "Windows"},
        },
    )


def mind2web_seeclick(folder: Path) -> None:
    """One task of the cross-task file; its second step has no box and is no sample."""
    steps = [("CLICK", "", True), ("HOVER", "", False), ("TYPE", "new york", True), ("SELECT", "2 adults", True)]
    actions = []
    for n, (operation, value, boxed) in enumerate(steps):
        picture(folder / "mind2web_images" / f"an1-ac{n}.jpg", (1280, 720))
        actions.append(
            {
                "action_uid": f"ac{n}",
                "operation": {"original_op": operation, "op": operation, "value": value},
                **({"bbox": {"x": 128, "y": 72, "width": 128, "height": 72}} if boxed else {}),
            }
        )
    write(
        folder / "mind2web_data_test_task.json",
        [
            {
                "annotation_id": "an1",
                "confirmed_task": "book a room",
                "website": "w",
                "domain": "Travel",
                "actions": actions,
            }
        ],
    )


def mind2web_uground(folder: Path) -> None:
    rows = []
    for n, (operation, value) in enumerate((("CLICK", ""), ("TYPE", "new york"))):
        picture(folder / "blocks" / f"an1_ac{n}" / "0.png", (1280, 1000))
        rows.append(
            {
                "annotation_id": "an1",
                "action_uid": f"ac{n}",
                "task": "book",
                "website": "w",
                "domain": "Travel",
                "operation": operation,
                "value": value,
                "bbox": [[128, 100, 128, 100]],
                "previous_actions": ["CLICK x"] * n,
                "step": n,
                "total_steps": 3,
                "split": "cross_website",
            }
        )
    (folder / "cross_website.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")


def screenspot(folder: Path, version: str = "") -> None:
    for platform, source, kind in (("mobile", "ios", "text"), ("desktop", "windows", "icon"), ("web", "shop", "text")):
        picture(folder / "images" / f"{platform}_1.png", DESK, "RGBA" if platform == "web" else "RGB")
        write(
            folder / f"screenspot_{platform}{version}.json",
            [
                {
                    "img_filename": f"{platform}_1.png",
                    "bbox": [96, 54, 192, 108],
                    "instruction": f"open {n}",
                    "data_type": kind,
                    "data_source": source,
                }
                for n in range(2)
            ],
        )


def screenspot_pro(folder: Path) -> None:
    for n in range(2):
        picture(folder / "images" / "word_windows" / f"s{n}.png", DESK)
    write(
        folder / "annotations" / "word_windows.json",
        [
            {
                "img_filename": f"word_windows/s{n}.png",
                "bbox": [96, 54, 288, 162],
                "instruction": "insert a table",
                "instruction_cn": "插入表格",
                "id": f"word_windows_{n}",
                "application": "word",
                "platform": "windows",
                "img_size": list(DESK),
                "ui_type": ("text", "icon")[n],
                "group": "Office",
            }
            for n in range(2)
        ],
    )


def osworld_g(folder: Path) -> None:
    picture(folder / "images" / "0FOB.png", DESK)
    regions = [
        ("bbox", [96.5, 54.25, 191.5, 107.75]),
        ("polygon", [96, 54, 288, 54, 288, 162, 96, 162]),
        ("refusal", [-1, -1, -1, -1]),
    ]
    write(
        folder / "OSWorld-G.json",
        [
            {
                "id": f"0FOB-{n}",
                "image_path": "0FOB.png",
                "image_size": list(DESK),
                "instruction": f"find {n}",
                "box_type": kind,
                "box_coordinates": box,
                "GUI_types": ["Icon"],
            }
            for n, (kind, box) in enumerate(regions)
        ],
    )
    write(
        folder / "classification_result.json",
        {"classified": {"text_matching": ["0FOB-0", "0FOB-1"], "refusal": ["0FOB-2"]}},
    )


def ui_vision(folder: Path) -> None:
    picture(folder / "images" / "gimp" / "a.png", DESK)
    for subset in ("basic", "functional", "spatial"):
        write(
            folder / "annotations" / "element_grounding" / f"element_grounding_{subset}.json",
            [
                {
                    "image_path": "images/gimp/a.png",
                    "image_size": list(DESK),
                    "bbox": [288, 162, 96, 54],
                    "prompt_to_evaluate": "Open colours",
                    "platform": "GIMP",
                    "element_type": "Button",
                }
            ],
        )


# Task name -> writer, number of samples.
FORMATS = {
    "aitw": (aitw_seeclick, 6),
    "androidcontrol": (androidcontrol, 10),
    "androidcontrol_low": (androidcontrol, 10),
    "gui_odyssey": (gui_odyssey, 10),
    "agentnetbench": (agentnetbench, 5),
    "mind2web": (mind2web_seeclick, 3),
    "mind2web_website": (mind2web_uground, 2),
    "screenspot": (screenspot, 6),
    "screenspot_v2": (lambda f: screenspot(f, "_v2"), 6),
    "screenspot_pro": (screenspot_pro, 2),
    "osworld_g": (osworld_g, 3),
    "ui_vision": (ui_vision, 3),
}
