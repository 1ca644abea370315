"""A headless Chromium that sees the packages and nothing else, with a still clock and seeded chance."""

from __future__ import annotations

import io
import mimetypes
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import UserError
from ...json_values import JsonObject
from .kits import KITS, font_css

HOST = "http://web.invalid"
# What could make two machines paint differently is off: hinting, subpixel order, the GPU, colour profiles.
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
    "--disable-skia-runtime-opts",
    "--disable-partial-raster",
    "--disable-blink-features=CSSCaretAnimation",
]
NOW = "2026-03-16T10:30:00Z"
# Before any script of a page: chance has a seed. After it: nothing moves, nothing blinks, and every font is ours.
SEEDED = """
(() => { let s = 20260316; Math.random = () => { s = (Math.imul(s, 1664525) + 1013904223) >>> 0; return s / 2 ** 32; };
  localStorage.clear(); })()
"""
STILL = """
*,*::before,*::after{animation:none!important;transition:none!important;caret-color:transparent!important;
scroll-behavior:auto!important}
:root,[data-bs-theme]{--bs-font-sans-serif:FAMILY,sans-serif!important;--bs-body-font-family:FAMILY!important;
--tblr-font-sans-serif:FAMILY!important;--tblr-body-font-family:FAMILY!important;
--bs-font-monospace:'JetBrains Mono'!important;--tblr-font-monospace:'JetBrains Mono'!important}
body,input,button,select,textarea{font-family:FAMILY,sans-serif}
code,pre,kbd,samp{font-family:'JetBrains Mono'!important}
table.dataTable thead th::before,table.dataTable thead th::after{content:''!important}
::-webkit-scrollbar{display:none}
"""


def find_browser() -> str:
    """Path of an installed Chromium.

    Raises:
        UserError: none is installed.
    """
    for name in ("chromium", "chromium-browser", "google-chrome", "chrome"):
        path = shutil.which(name)
        if path:
            return path
    raise UserError("no Chromium on this machine; install the system's 'chromium' package and run the command again.")


class Browser:
    """A browser kept open over many pages (context manager).

    Args:
        kits: folder of :func:`.kits.fetch`.
    """

    def __init__(self, kits: Path) -> None:
        self._kits = kits
        self._pages: dict[str, str] = {}

    def __enter__(self) -> Browser:
        try:
            from playwright.sync_api import sync_playwright
        except ImportError:
            raise UserError("rendering needs playwright: pip install playwright.") from None
        self._play = sync_playwright().start()
        self._browser = self._play.chromium.launch(executable_path=find_browser(), args=FLAGS)
        return self

    def __exit__(self, *_: object) -> None:
        self._browser.close()
        self._play.stop()

    @property
    def version(self) -> str:
        """Version of the browser."""
        return str(self._browser.version)

    def open(
        self,
        address: str,
        size: tuple[int, int],
        scale: int,
        family: str,
        *,
        scripts: bool = False,
        pages: Mapping[str, str] | None = None,
    ) -> Any:
        """A page, loaded and at rest.

        Args:
            address: path below :data:`HOST`.
            size: (width, height) of the viewport in CSS pixels.
            scale: device pixels per CSS pixel.
            family: font where the kit asks for the system's.
            scripts: let the page's own scripts run.
            pages: documents that are not in a package, by address.

        Returns:
            Playwright's page; the caller closes its context.
        """
        self._pages = dict(pages or {})
        context = self._browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            device_scale_factor=scale,
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",
            color_scheme="light",
            service_workers="block",
        )
        context.route("**/*", lambda route: self._answer(route, scripts))
        page = context.new_page()
        page.clock.install(time=NOW)
        page.add_init_script(SEEDED)
        page.goto(HOST + address, wait_until="load")
        page.clock.run_for(3000)
        page.add_style_tag(content=font_css() + STILL.replace("FAMILY", f"'{family}'"))
        page.evaluate("document.fonts.ready.then(() => true)")
        return page

    def _answer(self, route: Any, scripts: bool) -> None:
        path = route.request.url.removeprefix(HOST).split("?")[0].split("#")[0]
        if not route.request.url.startswith(HOST):
            if "fonts.googleapis.com" in route.request.url:
                route.fulfill(body=font_css(), content_type="text/css")
            else:
                route.abort()
            return
        if path in self._pages:
            route.fulfill(body=self._pages[path], content_type="text/html")
            return
        file = self._file(path)
        if file is None:
            route.fulfill(status=404, body="")
            return
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        body = file.read_bytes()
        if file.suffix == ".html" and not scripts:
            body = re.sub(rb"<script\b.*?</script>", b"", body, flags=re.S | re.I)
        route.fulfill(body=body, content_type="text/javascript" if file.suffix == ".js" else kind)

    def _file(self, path: str) -> Path | None:
        parts = [p for p in path.split("/") if p not in ("", ".", "..")]
        if parts[:1] == ["kits"]:
            parts = parts[1:]
            file = self._kits.joinpath(*parts)
        else:  # gentelella's pages name their files from the root of its site
            file = self._kits.joinpath("gentelella", "package", "dist", *parts)
        return file if file.is_file() else None


def fonts_used(page: Any) -> set[str]:
    """Fonts of the SYSTEM that a page's text was painted with, and where; empty on a page that repeats everywhere."""
    session = page.context.new_cdp_session(page)
    session.send("DOM.enable")
    session.send("CSS.enable")
    root = session.send("DOM.getDocument", {"depth": -1})["root"]
    foreign: set[str] = set()

    def visit(node: JsonObject) -> None:
        children = node.get("children", ())
        if any(c.get("nodeType") == 3 and c.get("nodeValue", "").strip() for c in children):
            fonts = session.send("CSS.getPlatformFontsForNode", {"nodeId": node["nodeId"]})["fonts"]
            where = f"{node['nodeName'].lower()} {node.get('attributes', [])[:2]}"
            foreign.update(f"{f['familyName']} in {where}" for f in fonts if not f["isCustomFont"])
        for child in children:
            visit(child)

    visit(root)
    session.detach()
    return foreign


def shot(page: Any) -> Any:
    """The viewport as RGB uint8 ``(height, width, 3)``."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(page.screenshot(animations="disabled", caret="hide"))).convert("RGB"))


__all__ = ["FLAGS", "KITS", "Browser", "find_browser", "fonts_used", "shot"]
