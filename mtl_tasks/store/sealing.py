"""JSON documents that carry their own hash: plain against accidents, keyed against forgery.

A plain seal reveals a document that was damaged, truncated or edited, but anybody who can write to a store can make
another. A keyed seal is an HMAC-SHA256, which only the key can make.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from mtl_tasks.core.errors import ConfigError, SealError
from mtl_tasks.core.program import PROGRAM

KEY_VARIABLE: Final = "MTL_STORE_KEY"
OLD_KEY_VARIABLE: Final = "MTL_STORE_KEY_OLD"
KEY_LENGTH: Final = 32  # characters; as hexadecimal digits, 128 bits
SEAL_COMMAND: Final = f"{PROGRAM} registry seal SCENARIO"

_SEAL: Final = "seal"
_LINE: Final = re.compile(rb'\n "seal": "(?:hmac-sha256:([0-9a-f]{8}):)?([0-9a-f]{64})"(,?)(?=\n)')


class StoreKey:
    """The secret that seals a store's documents; it is never shown and never leaves the process.

    Raises
    ------
    ConfigError
        If it is shorter than ``KEY_LENGTH``.
    """

    __slots__ = ("_secret", "id")

    def __init__(self, secret: str, name: str = KEY_VARIABLE) -> None:
        if len(secret) < KEY_LENGTH:
            raise ConfigError(
                f"{name}: has {len(secret)} characters, fewer than {KEY_LENGTH}: make one with `openssl rand -hex 32`"
            )
        self._secret = secret.encode()
        self.id = self.sign(b"id")[:8]  # distinguishes documents of another key from damaged ones

    def sign(self, body: bytes) -> str:
        """Return the HMAC-SHA256 of bytes, in hexadecimal."""
        return hmac.new(self._secret, body, hashlib.sha256).hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StoreKey) and hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self._secret)

    def __repr__(self) -> str:
        return f"StoreKey(id={self.id!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"the key of a store is not pickled: read it from {KEY_VARIABLE} in the other process")


def key_from(environment: Mapping[str, str], name: str = KEY_VARIABLE) -> StoreKey | None:
    """Return the key in an environment; None if it holds none.

    Raises
    ------
    ConfigError
        If it is shorter than ``KEY_LENGTH``.
    """
    secret = environment.get(name, "").strip()
    return StoreKey(secret, name) if secret else None


def to_json(document: Any) -> bytes:
    """Serialize with sorted keys, so that equal documents give equal bytes."""
    return (json.dumps(document, sort_keys=True, indent=1, allow_nan=False) + "\n").encode()


def sealed(document: dict[str, Any], key: StoreKey | None = None) -> bytes:
    """Return a document's bytes with a seal, which reveals a changed byte even to a reader without a reference."""
    body = to_json(document)
    seal = hashlib.sha256(body).hexdigest() if key is None else f"hmac-sha256:{key.id}:{key.sign(body)}"
    return to_json({**document, _SEAL: seal})


def unsealed(data: bytes, key: StoreKey | None = None, where: str = "document") -> dict[str, Any]:
    """Invert :func:`sealed`.

    The seal's line is cut out of the bytes: serializing the document again takes ten times as long, and the model
    board reads thousands.

    Parameters
    ----------
    key
        The key that the document must be sealed with; None: it must have a plain seal.
    where
        Location of the document, for messages.

    Raises
    ------
    SealError
        If it has another seal: without the key, with another, or with one that is not given.
    ValueError
        If the bytes are not exactly what :func:`sealed` wrote.
    """
    line = _LINE.match(data, max(data.find(b'\n "seal": '), 0))
    if line is None:
        raise ValueError("no seal")
    before = data[: line.start()] if line[3] else data[: line.start()].removesuffix(b",")
    body = before + data[line.end() :]
    _refuse_other_key(None if line[1] is None else line[1].decode(), key, where)
    expected = hashlib.sha256(body).hexdigest() if key is None else key.sign(body)
    if not hmac.compare_digest(expected.encode(), line[2]):
        raise ValueError("its hash does not match")
    try:
        document = json.loads(body)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if not isinstance(document, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - of the bytes, not of the caller
    return document


def _refuse_other_key(found: str | None, key: StoreKey | None, where: str) -> None:
    if found == (None if key is None else key.id):
        return
    if key is None:
        raise SealError(
            f"{where}: is sealed with a key, and none is given: set {KEY_VARIABLE} to the key of this store"
        )
    if found is None:
        raise SealError(
            f"{where}: is sealed without a key, while {KEY_VARIABLE} is set: it is forged, unless it was written "
            f"before the key was set; if all such documents were, run {SEAL_COMMAND} once"
        )
    raise SealError(
        f"{where}: is sealed with key {found}, while {KEY_VARIABLE} is key {key.id}: set the key of this store; to "
        f"change it, run {SEAL_COMMAND} with the old one in {OLD_KEY_VARIABLE}"
    )
