"""One decoding of an image file, for the model, the pictures and the checks alike; nothing else opens an image.

What a processor of transformers does with a file: EXIF orientation is applied (``load_image``), transparency is laid on
white (``convert_to_rgb`` of Qwen2-VL's processor), animations and multi-page files give their first frame. What Pillow
would clip in silence is not: 16-bit grey is scaled to 8 bits, 32-bit and float images have no stated range and are
refused.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import SampleError

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

# A file that decodes to more than this many pixels is refused: a decompression bomb would take the machine down.
MAX_FILE_PIXELS = 200_000_000
_ORIENTATION = 0x0112  # EXIF tag; 5 to 8 swap width and height
_WITH_ALPHA = ("RGBA", "LA", "PA", "RGBa", "La")  # not LAB, whose A is a colour
_PILLOWS_LIMIT = threading.Lock()


def open_image(path: Path, content: bytes | None = None) -> np.ndarray:
    """Decode one file to RGB uint8 ``(height, width, 3)``.

    Args:
        path: the file.
        content: its bytes, where they have been read already.

    Raises:
        SampleError: ``bad_image`` for a missing, empty, corrupt or oversized file, or one without a range of values.
    """
    import numpy as np

    return np.array(open_picture(path, content))


def open_picture(path: Path, content: bytes | None = None) -> Image.Image:
    """As :func:`open_image`, as an RGB image of Pillow."""
    with _opened(path, content) as image:
        return flat(upright(image), path.name)


def image_size(path: Path) -> tuple[int, int]:
    """(width, height) in pixels as :func:`open_image` decodes it, from the header alone.

    Raises:
        SampleError: ``bad_image`` for a file whose header cannot be read.
    """
    with _opened(path) as image:
        width, height = image.size
        if image.format == "TIFF" or (image.format == "PNG" and not _png_says_more(path)):
            return width, height  # Pillow swaps a TIFF's size itself; and it decodes a whole PNG to look for EXIF data
        return (height, width) if _orientation(image) in (5, 6, 7, 8) else (width, height)


def upright(image: Image.Image) -> Image.Image:
    """The image turned as its EXIF orientation says; one whose EXIF data cannot be read is taken as it is."""
    from PIL import ImageOps

    if _orientation(image) == 1:
        return image
    try:
        return ImageOps.exif_transpose(image)
    except (SyntaxError, ValueError, KeyError, TypeError, AttributeError):  # damaged metadata beside sound pixels
        return image


def flat(image: Image.Image, name: str = "") -> Image.Image:
    """The image as 8-bit RGB.

    Args:
        image: of any mode.
        name: of the file, for the message.

    Raises:
        SampleError: ``bad_image`` where the values of a pixel have no stated range.
    """
    from PIL import Image

    deep = image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM"))
    if deep:  # older releases of Pillow open a 16-bit PNG as "I"
        import numpy as np

        values = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        kind = "32-bit integer" if image.mode == "I" else "floating-point"
        raise SampleError("bad_image", f"{name}: {kind} pixels have no stated range; convert the file to 8 bits.")
    if image.mode in _WITH_ALPHA or image.info.get("transparency") is not None:
        on_top = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), on_top).convert("RGB")
    return image.convert("RGB")


def _orientation(image: Any) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # whatever damaged metadata makes the parser raise
        return 1


def _png_says_more(path: Path) -> bool:
    """Whether a PNG has a chunk that can hold EXIF data, by the headers of its chunks."""
    with path.open("rb") as stream:
        stream.seek(8)  # the signature
        while len(head := stream.read(8)) == 8:
            if head[4:] in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
                return True
            stream.seek(int.from_bytes(head[:4], "big") + 4, io.SEEK_CUR)
    return False


@contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """The open file, its header read and its size accepted; every failure, also a later one of the caller's decoding,
    is a ``bad_image``."""
    from PIL import Image

    try:
        # Pillow's own limit lies below ours, warns from half of it on, and is a global that other packages change.
        with _PILLOWS_LIMIT:
            limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
            try:
                image = Image.open(path if content is None else io.BytesIO(content))
            finally:
                Image.MAX_IMAGE_PIXELS = limit
        with image:
            if image.width * image.height > MAX_FILE_PIXELS:
                raise SampleError(
                    "bad_image",
                    f"{path.name}: {image.width}x{image.height} pixels are more than the {MAX_FILE_PIXELS:,} that "
                    "are read; make the file smaller.",
                )
            yield image
    except SampleError:
        raise
    except FileNotFoundError:
        raise SampleError("bad_image", f"{path.name}: the file is missing.") from None
    except IsADirectoryError:
        raise SampleError("bad_image", f"{path.name}: a folder, not an image.") from None
    except MemoryError:
        raise
    except Exception as error:
        raise SampleError("bad_image", f"{path.name}: not a readable image ({type(error).__name__}).") from error
