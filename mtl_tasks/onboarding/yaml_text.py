"""Names and texts in the form that a scenario file accepts."""

from __future__ import annotations

import itertools
import json
import keyword
import re

import yaml

from mtl_tasks.scenario import LISTS


def key(name: str) -> str:
    """Turn a column's name into a valid task name: lower-case letters, digits and underscores, a letter first.

    >>> key("listPrice (EUR)")
    'list_price_eur'
    >>> key("Return"), key("On")  # a keyword of Python, and a word of YAML
    ('return_', 'on_')
    """
    words = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    made = re.sub(r"[^a-z0-9]+", "_", words).strip("_")
    made = (made if made[:1].isalpha() else f"column_{made}")[:40].rstrip("_")
    return f"{made}_" if keyword.iskeyword(made) or made == LISTS or yaml.safe_load(made) != made else made


def keys(names: list[str], taken: tuple[str, ...] = ()) -> dict[str, str]:
    """Return a key for each name; a key that is taken already gets a number.

    >>> keys(["Cart", "cart", "title"], taken=("title",))
    {'Cart': 'cart', 'cart': 'cart_2', 'title': 'title_2'}
    """
    made: dict[str, str] = {}
    for name in names:
        numbered = (key(name) if number == 1 else f"{key(name)[:36]}_{number}" for number in itertools.count(1))
        made[name] = next(one for one in numbered if one not in (*made.values(), *taken))
    return made


def quoted(text: str) -> str:
    """Return a text that YAML reads back unchanged anywhere: plain where that is safe, else in double quotes.

    >>> quoted("user_id"), quoted("no"), quoted("a: b")
    ('user_id', '"no"', '"a: b"')
    """
    plain = re.fullmatch(r"\w[\w./ -]*", text) is not None and yaml.safe_load(f"[{text}]") == [text]
    return text if plain else json.dumps(text, ensure_ascii=False)
