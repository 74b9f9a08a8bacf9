"""Address of the store: one rule for the command line, the DAGs and the model board."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from mtl_tasks.core.errors import ConfigError, nearest

VARIABLE: Final = "MTL_STORE"
DEFAULT: Final = ".store"
_ONE_SLASH = re.compile(r"(\w+):/?(?!/)")


def address_from(environment: Mapping[str, str]) -> str:
    """Return the address in ``MTL_STORE``; if it is unset or empty, the folder ``.store``."""
    return environment.get(VARIABLE) or DEFAULT


def checked_address(address: str, base: Path | None = None) -> str:
    """Return an address that can be opened: a folder with ``~`` expanded, or a URI whose library is installed.

    Parameters
    ----------
    base
        Folder that a relative path starts from; by default the path stays relative.

    Raises
    ------
    ConfigError
        If the address is empty, its scheme is unknown, or the scheme's library is not installed.
    """
    if not address.strip():
        raise ConfigError(f"the store's address is empty: give a folder or s3://bucket/path (--store or {VARIABLE})")
    scheme, separator, _ = address.partition("://")
    if separator:
        _check_scheme(scheme, address)
        return address
    _refuse_one_slash(address)
    try:
        folder = Path(address).expanduser()
    except RuntimeError as error:
        raise ConfigError(f"store {address}: {error}; write the folder's full path") from error
    return str(folder if base is None else base / folder)


def _check_scheme(scheme: str, address: str) -> None:
    from fsspec.registry import available_protocols, get_filesystem_class

    try:
        get_filesystem_class(scheme)
    except ImportError as error:
        raise ConfigError(
            f"store {address}: {scheme}:// needs a package that is not installed in .venv ({error}): install it, or "
            "give a folder or s3://bucket/path"
        ) from error
    except ValueError as error:
        hint = nearest(scheme, available_protocols())
        raise ConfigError(
            f"store {address}: unknown scheme {scheme!r}{hint} (give a folder or s3://bucket/path)"
        ) from error


def _refuse_one_slash(address: str) -> None:
    """Refuse ``s3:/bucket``: a folder named ``s3:`` is never intended."""
    from fsspec.registry import available_protocols

    found = _ONE_SLASH.match(address)
    if found and found[1] in available_protocols():
        rest = address[found.end() :]
        raise ConfigError(f"store {address}: two slashes are missing, write {found[1]}://{rest}")
