"""The ``web`` suite: pages of open UI kits, rendered by headless Chromium, with answers from the DOM.

``build`` makes the tasks ``web-grounding``, ``web-doc`` and ``web-nav`` anew from pinned packages: one seed, the same
packages and the same Chromium give the same bytes. Fonts come from the packages, too, and a page on which the browser
would have used a font of the system is refused.
"""
