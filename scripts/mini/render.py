"""Draws many screens per browser screenshot and reads the facts of each from the DOM."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from .design import CSS, Screen

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--font-render-hinting=none",
    "--disable-lcd-text",
    "--force-color-profile=srgb",
    "--hide-scrollbars",
]

# Per screen: every word with its pixel position, every target with its box, every key/value pair. Everything is read
# after layout, from what the browser placed.
EXTRACT = """
() => [...document.querySelectorAll('.scr')].map(s => {
  const o = s.getBoundingClientRect();
  const text = e => [...e.querySelectorAll('.w')].map(w => w.textContent).join(' ');
  const box = e => { const r = e.getBoundingClientRect();
    return [r.left - o.left, r.top - o.top, r.right - o.left, r.bottom - o.top]; };
  const words = [...s.querySelectorAll('.w')].map(w => { const b = box(w); return [w.textContent, b[0], b[1]]; });
  const targets = [...s.querySelectorAll('[data-target]')].map(e => {
    const b = box(e);
    if (e.classList.contains('btn')) { const d = e.classList.contains('low') ? 8 : -8; b[1] += d; b[3] += d; }
    return {kind: 'text', name: e.dataset.target && text(e), box: b}; });  // the phrase of a failed page has none
  const icons = [...s.querySelectorAll('[data-icon]')].map(e =>
    ({kind: 'icon', name: e.dataset.icon, box: box(e)}));
  const values = {};
  for (const e of s.querySelectorAll('[data-value]')) values[e.dataset.value] = text(e);
  const facts = [...s.querySelectorAll('[data-key]')].flatMap(e => e.dataset.key.split(' ').map(tag =>
    ({kind: tag.split('-')[0], key: text(e), value: values[tag]}))).filter(f => f.value);
  const cells = [...s.querySelectorAll('[data-cell]')].map(e => {
    const [r, c] = e.dataset.cell.split('|'); return {kind: 'cell', row: r, col: c, value: text(e)}; });
  return {words, targets: targets.concat(icons), facts, cells};
})
"""


def find_browser(own: str | None = None) -> str:
    """Path of an installed Chromium, else ``own``, where playwright would have put one.

    Raises:
        RuntimeError: none is installed.
    """
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        path = shutil.which(name)
        if path:
            return path
    if own and Path(own).exists():
        return own
    raise RuntimeError("no Chromium on this machine; install the system's package, or `playwright install chromium`.")


class Renderer:
    """A headless browser kept open over many sheets (context manager).

    Args:
        sheet: width and height of a sheet in CSS pixels.
        scale: device pixels per CSS pixel. Facts stay in CSS pixels.
    """

    def __init__(self, sheet: tuple[int, int] = (3072, 3072), scale: float = 1.0) -> None:
        self.sheet, self.scale = sheet, scale

    def __enter__(self) -> Renderer:
        from playwright.sync_api import sync_playwright

        self._play = sync_playwright().start()
        found = find_browser(self._play.chromium.executable_path)
        self._browser = self._play.chromium.launch(executable_path=found, args=FLAGS)
        self._page = self._browser.new_page(
            viewport={"width": self.sheet[0], "height": self.sheet[1]}, device_scale_factor=self.scale
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._play.stop()

    def capacity(self, size: tuple[int, int]) -> int:
        """Screens of ``size`` (width, height) that fit on one sheet."""
        return (self.sheet[0] // size[0]) * (self.sheet[1] // size[1])

    def draw(self, screens: Sequence[Screen]) -> list[tuple[np.ndarray, dict[str, Any]]]:
        """Draw screens of ONE size on one sheet.

        Returns:
            per screen its RGB uint8 ``(height, width, 3)`` in device pixels and the facts read from the DOM.
        """
        width, height = screens[0].size
        across = self.sheet[0] // width
        places = [((i % across) * width, (i // across) * height) for i in range(len(screens))]
        body = "".join(s.html(*p) for s, p in zip(screens, places, strict=True))
        self._page.set_content(f"<!doctype html><style>{CSS}</style><body>{body}</body>")
        facts = self._page.evaluate(EXTRACT)
        png = self._page.screenshot(
            clip={
                "x": 0,
                "y": 0,
                "width": self.sheet[0],
                "height": (len(screens) - 1) // across * height + height,
            }
        )
        sheet = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))
        drawn = []
        for (x, y), f in zip(places, facts, strict=True):
            left, top, right, bottom = (round(v * self.scale) for v in (x, y, x + width, y + height))
            drawn.append((np.ascontiguousarray(sheet[top:bottom, left:right]), f))
        return drawn
