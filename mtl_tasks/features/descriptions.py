"""Feature names in words, built from the parts of a name, for readers who do not know the naming scheme."""

from __future__ import annotations

import math
import re
from typing import Final

# Parts of a name: a side (user or item), a task, an attribute or an item trait, days. The first match wins.
_GRAMMAR: Final = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"(?P<side>user|item)\.count(?P<recent>_\d+d)?", "interactions of the {side}{recent}"),
        (r"(?P<side>user|item)\.days_since_(?P<end>first|last)", "days since the {end} interaction of the {side}"),
        (r"user\.usual_(?P<trait>\w+)", "usual {trait} of the user's items"),
        (r"user_x_item\.(?P<trait>\w+)_minus_usual", "{trait} of the item, less what is usual for the user"),
        (r"item\.takers_experience", "experience of the item's users (log of their interactions)"),
        (r"user_x_item\.experience_minus_takers", "the user's experience minus that of the item's users (log scale)"),
        (r"(?P<side>user|item)\.(?P<task>\w+)\.mean(?P<recent>_\d+d)?", "mean {task} of the {side}{recent}"),
        (r"user\.(?P<task>\w+)\.bias(?P<recent>_\d+d)?", "{task} of the user beyond what the items explain{recent}"),
        (r"item\.(?P<task>\w+)\.bias(?P<recent>_\d+d)?", "{task} of the item beyond what the users explain{recent}"),
        (r"(?P<side>user|item)\.(?P<task>\w+)\.spread", "spread of the {side}'s {task} (standard deviation)"),
        (r"(?P<side>user|item)\.(?P<task>\w+)\.count", "times that {task} was observed of the {side}"),
        (r"(?P<task>\w+)\.level(?P<recent>_\d+d)?", "{task} expected from the levels of user and item{recent}"),
        (r"user_x_(?P<name>\w+)\.share", "share of the user's interactions with the item's {name}"),
        (r"item_x_(?P<name>\w+)\.share", "share of the item's interactions with users of the user's {name}"),
        (r"item_x_(?P<name>\w+)\.lift", "appeal of the item to users with the user's {name} (log scale)"),
        (
            r"item_x_(?P<name>\w+)\.(?P<task>\w+)\.residual",
            "{task} of users of the user's {name} for the item, beyond the levels",
        ),
        (
            r"user_x_(?P<name>\w+)\.lift",
            "the user's preference for the item's {name}, relative to all users (log scale)",
        ),
        (r"user_x_item\.(?P<task>\w+)\.factors", "{task} beyond the levels, predicted from factors"),
        (r"user_x_item\.(?P<task>\w+)\.near_residual", "{task} of the user for similar items, beyond the levels"),
        (
            r"user_x_(?P<name>\w+)\.(?P<task>\w+)\.residual",
            "{task} of the user for the item's {name}, beyond the levels",
        ),
        (r"item\.(?P<name>\w+)\.count(?P<recent>_\d+d)", "interactions with the item's {name}{recent}"),
        (r"item\.(?P<name>\w+)\.values", "number of the item's {name}"),
        (r"taste\.dot", "match of the user's and the item's preference factors"),
        (r"taste\.cosine", "match of the preference factors' directions (cosine)"),
        (r"taste\.(?P<side>user|item)_norm", "strength of the {side}'s preference factors"),
        (r"taste\.(?P<side>user|item)_(?P<name>\d+)", "dimension {name} of the {side}'s preference factors"),
        (r"taste\.recent_cosine", "likeness of the item to the user's last items (cosine)"),
        (r"co_occurrence\.recent", "how often the item goes with the user's last items"),
        (r"co_occurrence\.all", "how often the item goes with the user's items"),
        (r"cascade\.(?P<task>\w+)", "{task}, as predicted by an earlier task of the cascade"),
        (r"context\.(?P<name>\w+)\.(?P<task>\w+)\.mean", "mean {task} under this {name}"),
        (r"(?P<side>user|item)_x_(?P<name>\w+)\.(?P<task>\w+)\.mean", "mean {task} of the {side} under this {name}"),
        (r"(?P<side>user|item)\.(?P<task>\w+)\.beyond_(?P<name>\w+)", "{task} of the {side} beyond its {name}"),
        (r"context\.(?P<name>\w+)", "{name} of the moment"),
        (r"(?P<side>user|item)\.(?P<name>\w+)", "{name} of the {side}"),
    )
)
_TRAITS: Final = {
    "popularity": "popularity (log scale)",
    "popularity_7d": "7-day popularity (log scale)",
    "age": "age (log scale)",
}


def words(name: str) -> str:
    """Return a feature's name in words; a name that matches no pattern is returned unchanged.

    >>> words("item.count_7d")
    'interactions of the item in the last 7 days'
    >>> words("user_x_genres.share")
    "share of the user's interactions with the item's genres"
    """
    for pattern, text in _GRAMMAR:
        found = pattern.fullmatch(name)
        if found:
            return text.format(**{part: _part(part, value or "") for part, value in found.groupdict().items()})
    return name


def value_text(value: object) -> str:
    """Format a feature's value: whole numbers without decimals, others with three significant digits.

    >>> value_text(31.0), value_text(0.12345), value_text(float("nan")), value_text("web")
    ('31', '0.123', 'unknown', 'web')
    """
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "unknown"
    return f"{value:.0f}" if value.is_integer() else f"{value:.3g}"


def _part(part: str, value: str) -> str:
    if part == "recent":
        days = value.strip("_d")
        return {"": "", "1": " in the last day"}.get(days, f" in the last {days} days")
    return _TRAITS.get(value, value.replace("_", " ")) if part == "trait" else value.replace("_", " ")
