"""Pictures of the user's own, next to the rows that ask about them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from holdfast.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

ORIENTATION = 0x0112
"""EXIF's tag of how a camera was held."""
LYING = (5, 6, 7, 8)
"""Its values that exchange width and height."""


@dataclass(frozen=True)
class PictureFile:
    """One image file; see `holdfast.records.Picture`.

    Attributes:
        path: Where it lies.
        sha256: Of its bytes: what counts, wherever it lies.
        size: Width and height in pixels, upright.
    """

    path: Path
    sha256: str
    size: tuple[int, int]

    def render(self) -> Image:
        """Read the image, upright and in RGB.

        Raises:
            DataError: it cannot be read any more.
        """
        from PIL import Image, ImageOps  # here and below: a check of a recipe has no time for Pillow

        try:
            with Image.open(self.path) as image:
                return ImageOps.exif_transpose(image).convert("RGB")
        except OSError as fault:
            raise DataError(f"picture {self.path} cannot be read: {fault}") from fault

    def to_json(self) -> dict[str, Any]:
        """Return the hash."""
        return {"sha256": self.sha256}

    def words(self) -> str:
        """Return the name of the file."""
        return self.path.name


def picture_file(path: Path) -> PictureFile:
    """Return the picture in a file, of which only the head is decoded.

    Raises:
        DataError: there is no such file, or it is no image that Pillow knows.
    """
    from PIL import Image

    try:
        raw = path.read_bytes()
        with Image.open(path) as image:
            width, height = image.size
            lying = image.getexif().get(ORIENTATION) in LYING
    except OSError as fault:
        raise DataError(f"picture {path}: {fault.strerror or fault}") from fault
    return PictureFile(path, hashlib.sha256(raw).hexdigest(), (height, width) if lying else (width, height))
