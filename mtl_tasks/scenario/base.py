"""Base of every section of a scenario file: immutable, strict about its keys, and bounded in every value."""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_LINK: Final = r"https?://[^\s/@]+(/\S*)?|mailto:[^\s@]+@[^\s@]+"
# A password may have a slash; a path, after a third slash, has none.
_PASSWORD: Final = re.compile(r"^[^/]*//(?!/)[^?@]*:[^?@]*@|[?&][^=&]*pass", re.IGNORECASE)
NAME: Final = r"^[a-z][a-z0-9_]{0,39}$"  # with a prefix also a folder, a DAG's id and a column


def _one_line(text: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise ValueError("must be one line, without control characters")
    return text


def _link(text: str) -> str:
    if re.fullmatch(_LINK, text) is None:
        raise ValueError(
            "must be an address without a password: https://wiki.example.com/team or mailto:team@example.com"
        )
    return text


Name = Annotated[str, Field(pattern=NAME)]
Line = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_one_line)]
Short = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_one_line)]
Link = Annotated[str, Field(min_length=1, max_length=1000), AfterValidator(_link)]
# Strict, because pydantic otherwise takes `true` for 1 and "3" for 3.
Whole = Annotated[int, Field(strict=True)]
Real = Annotated[float, Field(strict=True)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[Whole, Field(ge=1, le=1_000_000_000)]
Days = Annotated[Whole, Field(ge=1, le=10_000)]  # all windows together stay within what a timestamp in ns can be
Fraction = Annotated[Real, Field(ge=0, le=1)]
Strength = Annotated[Real, Field(ge=0, le=1e9)]  # of a weight, a regularization, a pseudo-count
Positive = Annotated[Real, Field(ge=1e-6, le=1e9)]
Value = Annotated[Real, Field(ge=-1e15, le=1e15)]  # of a label, or of a metric in its units


class Model(BaseModel):
    """Base of every section: immutable; an unknown key and a number that is not finite are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=(), allow_inf_nan=False)


def refuse_password(url: str | None) -> None:
    """Refuse a URL that holds a password.

    Raises
    ------
    ValueError
        Without the URL.
    """
    if url is not None and _PASSWORD.search(url):
        raise ValueError("`url` holds a password: put the URL into an environment variable and name it in `url_env`")


def number_limits(section: type[Model], key: str) -> dict[str, Any]:
    """Return the least and the greatest value of a number as JSON schema's ``minimum`` and ``maximum``.

    >>> from mtl_tasks.scenario.members import Cascade
    >>> number_limits(Cascade, "folds")
    {'minimum': 2, 'maximum': 20}
    """
    schema = section.model_json_schema()["properties"][key]
    return {limit: schema[limit] for limit in ("minimum", "maximum")}
