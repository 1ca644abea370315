"""The packages that the pages are made of: pinned versions, verified content, where each file lies."""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from ...errors import UserError
from ..archives import unpack

REGISTRY = "https://registry.npmjs.org"
TIMEOUT_S = 120


@dataclass(frozen=True)
class Kit:
    """One npm package.

    Attributes:
        package: its name.
        version: of the release.
        sha512: of the tarball, base64, as the registry states it.
        licence: SPDX name.
        credit: who holds the rights.
    """

    package: str
    version: str
    sha512: str
    licence: str
    credit: str


KITS = {
    "sb-admin-2": Kit(
        "startbootstrap-sb-admin-2",
        "4.1.4",
        "Zr0JNu4tRD4EJVDwVLETKWfMniFx4Dy3qAnJ96ucqUqIZ8Ns4/H5a6Y0E44/K5lxO05EBQwi24hPxaLEz+2IhA==",
        "MIT",
        "Start Bootstrap LLC",
    ),
    "gentelella": Kit(
        "gentelella",
        "4.2.0",
        "etbwRsQv+fl5tAnmE+SCZGGWWU6H6EudoWFZEPDJ93jGtVlDOnUmG09XW/BY+V3K1n28jZJ3fJx4V3WH7MVzOQ==",
        "MIT",
        "Aigars Silkalns & Colorlib",
    ),
    "tabler": Kit(
        "@tabler/core",
        "1.6.1",
        "lgmR9gcxRp5JlLxcmRi9Rz85JrEvH6Bz71KnlcPVSa97wtwQNjgSs3g3fxwbAlulHyRMghhIV04QUuW3pqDsIg==",
        "MIT",
        "The Tabler Authors",
    ),
    "bootstrap": Kit(
        "bootstrap",
        "5.3.9",
        "20cU0rcfw8WdxtVbmfU+xT2EjvVTw9Ror/h1Qvd7DXCujRg8OO9mdBCsmTHdJFf3BuadmBNJtgIuUXsBqSkk/w==",
        "MIT",
        "The Bootstrap Authors",
    ),
    "icons": Kit(
        "bootstrap-icons",
        "1.13.2",
        "fAU1Ly3dH7hwRg+CB8EZ0Vl0fF80zgXHeUVJyfUOKzoURr+TbwISbCW5tKUoQLERaWYG2emTCybcPbD96hdD1A==",
        "MIT",
        "The Bootstrap Authors",
    ),
    "inter": Kit(
        "@fontsource/inter",
        "5.3.0",
        "RofMylZmjlJEfELXeNHFWBRcSs75rGU/6bV2S2jfnvv/3rPXPGe0LgUJTklcHZ9lM4OZmAVFhcJPnACfb91A3g==",
        "OFL-1.1",
        "The Inter Project Authors",
    ),
    "nunito": Kit(
        "@fontsource/nunito",
        "5.3.0",
        "vw9TaTQJ/zpEpKrsODuPmOvaVjXgdda6B+xXA4YqjrdeJ62MLgVoDerdRXFQHyBnSCt2yQ2nHKCHPP/Pv7Xq4Q==",
        "OFL-1.1",
        "The Nunito Project Authors",
    ),
    "open-sans": Kit(
        "@fontsource/open-sans",
        "5.3.0",
        "V1bdMlGNyZrJwzrdusshMOw2YR0aqYDL7kOo9dkxUEKl8dFv66A9HLckOOXl572sG/7ohhDQrCrTFGSn9LZcSw==",
        "OFL-1.1",
        "The Open Sans Project Authors",
    ),
    "roboto": Kit(
        "@fontsource/roboto",
        "5.3.0",
        "BapRJOWYP+LZ21zp+wBQjfpPYKRoxc4LspJ/RLuI+HSMBD5u/X4O+ESDrSvEqDSy0rAl7GwBJ+09mdc16cVQ1Q==",
        "OFL-1.1",
        "The Roboto Project Authors",
    ),
    "mono": Kit(
        "@fontsource/jetbrains-mono",
        "5.3.0",
        "fqDfB5I9f1p1TV486aUgB9t8zP84P0O1FtQR5Ol9vjwPy+S+EIGlVYm1cvj2W5shcZMTg2nZFdVMoH5wFu8a1A==",
        "OFL-1.1",
        "The JetBrains Mono Project Authors",
    ),
}
# Family name -> kit, and the weights that are loaded.
FONTS = {
    "Inter": ("inter", (400, 500, 600, 700)),
    "Nunito": ("nunito", (300, 400, 600, 700, 800)),
    "Open Sans": ("open-sans", (400, 600, 700)),
    "Roboto": ("roboto", (400, 500, 700)),
    "JetBrains Mono": ("mono", (400, 700)),
}


def fetch(folder: Path) -> Path:
    """Fetch, verify and unpack every package that is not there yet.

    Args:
        folder: of the packages; each gets a sub-folder named by its key in :data:`KITS`.

    Returns:
        ``folder``.

    Raises:
        UserError: no connection, or a package that is not the pinned one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, kit in KITS.items():
        if (folder / name / ".complete").is_file() and (folder / name / ".complete").read_text() == kit.sha512:
            continue
        content = _tarball(kit, folder)
        found = base64.b64encode(hashlib.sha512(content).digest()).decode()
        if found != kit.sha512:
            raise UserError(
                f"{kit.package} {kit.version} is not the package that the suite was made with (SHA-512 differs); try "
                "another registry."
            )
        shutil.rmtree(folder / name, ignore_errors=True)
        archive = folder / f"{name}.tgz"
        archive.write_bytes(content)
        unpack(archive, folder / name)
        archive.unlink()
        (folder / name / ".complete").write_text(kit.sha512)
    return folder


def _tarball(kit: Kit, folder: Path) -> bytes:
    """The package's bytes: through npm where it is installed (its registry settings hold), else from the registry."""
    if shutil.which("npm"):
        command = ["npm", "pack", f"{kit.package}@{kit.version}", "--pack-destination", str(folder), "--silent"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, cwd=folder)
        names = done.stdout.split()
        if done.returncode == 0 and names and (folder / names[-1]).is_file():
            content = (folder / names[-1]).read_bytes()
            (folder / names[-1]).unlink()
            return content
    url = f"{REGISTRY}/{kit.package}/-/{kit.package.rpartition('/')[2]}-{kit.version}.tgz"
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT_S) as answer:
            return bytes(answer.read())
    except OSError as error:
        raise UserError(
            f"{kit.package} {kit.version} cannot be fetched ({error}); check the connection, or install npm and set "
            f"its "
            "registry."
        ) from error


def font_css() -> str:
    """``@font-face`` rules of :data:`FONTS`, Latin subset, addresses of :mod:`.browser`."""
    rules = []
    for family, (kit, weights) in FONTS.items():
        stem = KITS[kit].package.rpartition("/")[2]
        rules += [
            f"@font-face{{font-family:'{family}';font-style:normal;font-weight:{w};font-display:block;"
            f"src:url(/kits/{kit}/package/files/{stem}-latin-{w}-normal.woff2) format('woff2')}}"
            for w in weights
        ]
    return "\n".join(rules)
