"""The brace blocks of a published route: one a milestone, a line a field, ``"key": "value",``.

They are not JSON, and the published reader splits them at every ``}``. `read_milestone_info` goes by lines and quotes,
so a ``}`` inside a value does no harm.
"""

from __future__ import annotations

from holdfast.environments.navigation.geometry import compass
from holdfast.environments.navigation.route import Route

NO_LANDMARK = "No landmark nearby"
NO_LANDMARKS = (NO_LANDMARK, "No landmarks nearby")
ON_YOUR = " is on your "
THE_DESTINATION = "The destination "


def milestone_info(route: Route) -> str:
    """Return the brace blocks of a route, one a milestone."""
    blocks = []
    for number, leg in enumerate(route.legs):
        if number == len(route.legs) - 1:
            seen = f"{THE_DESTINATION}{route.destination}{ON_YOUR}{route.destination_side}"
        else:
            seen = NO_LANDMARK if leg.landmark is None else f"{leg.landmark}{ON_YOUR}{leg.side}"
        meters = int(leg.distance) if float(leg.distance).is_integer() else leg.distance
        fields = {
            "intersection_idx": str(number),
            "landmarks": seen,
            "distance": f"{meters} meters",
            "human_heading": str(route.heading_before(number)),
            "to_next_intersection_heading": f"{leg.heading} ({compass(leg.heading)})",
        }
        blocks.append("{\n" + "".join(f'"{key}": "{value}",\n' for key, value in fields.items()) + "}\n")
    return "".join(blocks)


def read_milestone_info(text: str) -> list[dict[str, str]]:
    """Return the fields of each brace block, as text.

    A line is a brace, or a field: key and value part at the first colon, a value ends at its last quote, and a brace
    after that quote closes the block. Lines that are neither are skipped.

    Example:
        >>> read_milestone_info('{\\n"landmarks": "Cafe {7} is on your left",\\n"distance": "72 meters",\\n}')
        [{'landmarks': 'Cafe {7} is on your left', 'distance': '72 meters'}]
    """
    blocks: list[dict[str, str]] = []
    for raw in text.split("\n"):
        line = raw.strip()
        if line.startswith(("{", "}")):
            line = line.lstrip("{},; \t")
            blocks.append({})
        key, colon, value = line.partition(":")
        if not colon:
            continue
        if not blocks:
            blocks.append({})
        value, closed = _value(value.strip())
        blocks[-1][key.strip().strip("\"'")] = value
        if closed:
            blocks.append({})
    return [block for block in blocks if block]


def _value(text: str) -> tuple[str, bool]:
    """Return the text of a value without quotes and commas, and whether a brace after it closes its block."""
    quote = text[:1]
    if quote in ("'", '"') and text.rfind(quote) > 0:
        last = text.rfind(quote)
        return text[1:last], "}" in text[last:]
    bare = text.rstrip(", \t")
    return bare.rstrip("}").rstrip(", \t"), bare.endswith("}")
