"""Optional packages, each group of which has a lock file of its own under ``include/requirements``."""

from __future__ import annotations

from importlib.util import find_spec

from mtl_tasks.core.errors import ConfigError


def install_command(extra: str) -> str:
    """Return the command that installs a group of optional packages."""
    return f'make install EXTRAS="{extra}"'


def require_package(package: str, extra: str, subject: str, otherwise: str = "") -> None:
    """Raise if an optional package is missing.

    Parameters
    ----------
    package
        Name that it is imported by.
    extra
        Group that installs it.
    subject
        Setting and need, such as ``members: 'deep' is trained with JAX``.
    otherwise
        What else can be done, such as ``leave the member out``.

    Raises
    ------
    ConfigError
        Names the command that installs the group.
    """
    if find_spec(package) is None:
        alternative = f", or {otherwise}" if otherwise else ""
        raise ConfigError(f"{subject}, which is not installed: install it with {install_command(extra)}{alternative}")
