"""A hand of cards as a picture, in the published geometry, drawn by us.

The image is ``resolution`` x ``resolution`` RGB pixels of table green, with the cards in one row: for four cards each
is ``int(resolution / 4 * 0.9)`` wide and 7/5 as high, the i-th begins at ``x = 5 + int(i * 1.1 * width)``, and all are
centered vertically. No formula is drawn. The published images paste drawings of playing cards; ours are plain: a white
card with its rank and suit in two corners and the suit in the middle.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from holdfast.environments.general_points.cards import Card, Hand, long_text, rank_text

if TYPE_CHECKING:
    from PIL import Image, ImageDraw

BACKGROUND = (0x35, 0x65, 0x4D)
WHITE = (255, 255, 255)
RED = (198, 24, 38)
BLACK = (16, 16, 20)
EDGE = (120, 120, 120)

SMOOTHING = 4
"""Cards are drawn this many times larger and averaged down, because Pillow's shapes have hard edges."""
RANK_SIZE, CORNER_SUIT, MIDDLE_SUIT = 0.3, 0.2, 0.44
"""Height of the rank's letters, and of the two sizes of suit, as parts of the card's width."""

Box = tuple[float, float, float, float]


class Place(NamedTuple):
    """Where a card lies, in pixels."""

    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True)
class CardPicture:
    """The picture of one hand; see `holdfast.records.Picture`.

    Attributes:
        hand: The cards, from left to right.
        resolution: Width and height in pixels.
    """

    hand: Hand
    resolution: int

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.resolution, self.resolution

    def render(self) -> Image.Image:
        """Draw the hand."""
        from PIL import Image  # here and below: a check of a recipe has no time for Pillow

        image = Image.new("RGB", self.size, BACKGROUND)
        for card, place in zip(self.hand, places(len(self.hand), self.resolution), strict=True):
            face = _card(card, place.width, place.height)
            image.paste(face.colors, (place.x, place.y), face.inside)
        return image

    def to_json(self) -> dict[str, Any]:
        """Return hand and resolution."""
        return {"cards": [list(card) for card in self.hand], "resolution": self.resolution}

    def words(self) -> str:
        """Return the cards in words: ``"the queen of hearts, the ace of spades"``."""
        return ", ".join(long_text(card) for card in self.hand)


def places(n_cards: int, resolution: int) -> tuple[Place, ...]:
    """Return where each of ``n_cards`` cards lies in an image of ``resolution`` pixels a side.

    Example:
        >>> places(4, 1200)[1]
        Place(x=302, y=411, width=270, height=378)
    """
    width = int(resolution / n_cards * 0.9)
    height = int(width * 7 / 5)
    return tuple(Place(5 + int(i * width * 1.1), (resolution - height) // 2, width, height) for i in range(n_cards))


class _Face(NamedTuple):
    colors: Image.Image
    inside: Image.Image


@lru_cache(maxsize=256)
def _card(card: Card, width: int, height: int) -> _Face:
    """Return a card's pixels and the mask of its rounded shape; only ever read."""
    from PIL import Image, ImageChops, ImageDraw, ImageFont

    wide, high = width * SMOOTHING, height * SMOOTHING
    ink = RED if card.red else BLACK
    corner = Image.new("RGB", (wide, high), WHITE)
    pen = ImageDraw.Draw(corner)
    font = ImageFont.load_default(size=RANK_SIZE * wide)
    middle, top = 0.19 * wide, 0.07 * wide
    pen.text((middle, top), rank_text(card), fill=ink, font=font, anchor="mt")
    _suit(pen, card.suit, ink, (middle, top + (0.9 * RANK_SIZE + 0.5 * CORNER_SUIT) * wide), CORNER_SUIT * wide)
    colors = ImageChops.darker(corner, corner.rotate(180))
    pen = ImageDraw.Draw(colors)
    _suit(pen, card.suit, ink, (wide / 2, high / 2), MIDDLE_SUIT * wide)
    outline = (0, 0, wide - 1, high - 1)
    pen.rounded_rectangle(outline, radius=0.07 * wide, outline=EDGE, width=SMOOTHING)
    inside = Image.new("L", (wide, high), 0)
    ImageDraw.Draw(inside).rounded_rectangle(outline, radius=0.07 * wide, fill=255)
    return _Face(colors.reduce(SMOOTHING), inside.reduce(SMOOTHING))


HEART = (((-0.25, -0.2, 0.25), (0.25, -0.2, 0.25), (0.0, -0.06, 0.1)), (((-0.485, -0.11), (0.485, -0.11), (0.0, 0.5)),))
DIAMOND = ((), (((0.0, -0.5), (0.4, 0.0), (0.0, 0.5), (-0.4, 0.0)),))
STEM = ((0.0, -0.1), (0.17, 0.5), (-0.17, 0.5))
SPADE = (((-0.24, 0.1, 0.24), (0.24, 0.1, 0.24)), (((-0.47, 0.01), (0.47, 0.01), (0.0, -0.5)), STEM))
CLUB = (((0.0, -0.25, 0.25), (-0.25, 0.12, 0.24), (0.25, 0.12, 0.24), (0.0, 0.0, 0.15)), (STEM,))
SHAPES = (HEART, DIAMOND, SPADE, CLUB)
"""The suits in the order of ``cards.SUITS``: disks (x, y, radius) and polygons, in a square of side 1 around (0, 0)."""


def _suit(pen: ImageDraw.ImageDraw, suit: int, ink: tuple[int, int, int], at: tuple[float, float], size: float) -> None:
    disks, polygons = SHAPES[suit]
    for x, y, radius in disks:
        pen.ellipse(_around(at[0] + x * size, at[1] + y * size, radius * size), fill=ink)
    for polygon in polygons:
        pen.polygon([(at[0] + x * size, at[1] + y * size) for x, y in polygon], fill=ink)


def _around(x: float, y: float, radius: float) -> Box:
    return x - radius, y - radius, x + radius, y + radius
