"""Pictures that are read when their pixels are asked for.

lm-eval builds every request of a task before the first answer, so opened pictures would all be alive at once.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from ...image_file import image_size, open_picture


class LazyImage(Image.Image):
    """An RGB picture on disk: size and path are known, pixels are decoded anew at every use and never kept."""

    format = "PNG"

    def __init__(self, path: str | Path) -> None:
        """Read the header only.

        Raises:
            SampleError: the file is absent or no picture.
        """
        super().__init__()
        self._size = image_size(Path(path))
        self._mode = "RGB"
        self.filename = str(path)

    @property
    def im(self) -> Any:
        """The pixels."""
        if self._im is not None:  # changed in place
            return self._im
        return open_picture(Path(self.filename)).im

    @im.setter
    def im(self, value: Any) -> None:
        self._im = value

    def load(self) -> Any:
        """Access to single pixels, as :meth:`PIL.Image.Image.load` gives it."""
        return self.im.pixel_access(self.readonly)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.filename,)
