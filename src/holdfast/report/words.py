"""Numbers and foreign text as a reader sees them, on the page, in the terminal and in a model card."""

from __future__ import annotations

import math
import unicodedata

UNKNOWN = "–"
_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def visible(text: str, limit: int | None = None) -> str:
    r"""Return text in which everything that hides is written out, cut to ``limit`` characters.

    Control characters, lone surrogates, and marks that turn the direction of writing become ``\x00``-like escapes: a
    model's reply may hold anything, and must neither break a page nor look like something else. Line feeds and tabs
    stay.

    Example:
        >>> print(visible("24\x1b \u202e is right", 10))
        24\x1b \u202e is r… (+4 characters)
    """
    kept = text if limit is None else text[:limit]
    shown = "".join(character if _is_plain(character) else _escape(character) for character in kept)
    return shown if len(kept) == len(text) else f"{shown}… (+{len(text) - len(kept):,} characters)"


def percent(value: float | None) -> str:
    """Return a rate in percent with one decimal, ``97.5 %``."""
    return UNKNOWN if value is None else f"{100 * value:.1f} %"


def points(difference: float | None) -> str:
    """Return a difference of rates in signed percentage points, ``−49.0``."""
    return UNKNOWN if difference is None else _signed(100 * difference)


def interval(low: float | None, high: float | None) -> str:
    """Return the ends of an interval of a rate in percent, ``[22.4, 31.0]``."""
    if low is None or high is None:
        return UNKNOWN
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def signed_interval(low: float | None, high: float | None) -> str:
    """Return the ends of an interval of a difference in points, ``[−54.1, −43.6]``."""
    if low is None or high is None:
        return UNKNOWN
    return f"[{_signed(100 * low)}, {_signed(100 * high)}]"


def p_value(p: float | None) -> str:
    """Return a p-value to two digits, ``0.012`` or ``< 0.001``."""
    if p is None:
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def power_of_ten(value: float | None) -> str:
    """Return a large number as ``1.3 × 10¹³``."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if not value:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    factor = round(value / 10.0**exponent, 2)
    if abs(factor) >= 10:
        exponent, factor = exponent + 1, factor / 10
    return f"{factor:g} × 10{str(exponent).translate(_SUPERSCRIPT)}"


def amount(count: float | None) -> str:
    """Return a count in three digits, ``2.41 M``."""
    if count is None:
        return UNKNOWN
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(count) >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:,.0f}"


def seconds(duration: float | None) -> str:
    """Return a duration, ``48 s`` or ``3 min 12 s``."""
    if duration is None:
        return UNKNOWN
    whole = round(duration)
    if whole < 90:
        return f"{duration:.3g} s"
    if whole < 5400:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def listed(names: list[str]) -> str:
    """Return ``a, b and c``; semicolons where a name holds a comma itself.

    Example:
        >>> listed(["full, 1e-3", "mlp"])
        'full, 1e-3; mlp'
    """
    if len(names) < 2:
        return names[0] if names else "none"
    comma, last = ("; ", "; ") if any("," in name for name in names) else (", ", " and ")
    return comma.join(names[:-1]) + last + names[-1]


def _signed(value: float) -> str:
    rounded = round(value, 1)
    return "0.0" if rounded == 0 else f"{rounded:+.1f}".replace("-", "−")


def _is_plain(character: str) -> bool:
    if character in "\n\t":
        return True
    # Cc controls, Cf invisible formats (among them the marks of direction), Cs surrogates, Zl/Zp separators, Cn none
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp", "Cn", "Co"}


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
