"""Names of datasets by OpenLineage's naming rules, without logins, passwords and queries of signed addresses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from sqlalchemy import URL

_NAMESPACES: Final = {"postgresql": "postgres", "mariadb": "mysql"}  # SQLAlchemy's name -> OpenLineage's
_CONTAINERS: Final = ("abfs", "abfss", "wasb", "wasbs")  # what is before the @ is no login but the container


class DatasetName(NamedTuple):
    """Name of a dataset within a namespace, such as ``shop/log`` in ``s3://bucket``."""

    namespace: str
    name: str

    def below(self, *parts: str) -> DatasetName:
        """Return the name of what is in this folder."""
        return self._replace(name="/".join([self.name.rstrip("/"), *parts]).lstrip("/" if self._remote else ""))

    @property
    def address(self) -> str:
        """Namespace and name as one address; of a local file its path."""
        return f"{self.namespace}/{self.name}" if self._remote else self.name

    @property
    def _remote(self) -> bool:
        return "://" in self.namespace


def name_of_path(path: str) -> DatasetName:
    """Return the name of a file or folder; a relative path starts from the working folder.

    >>> name_of_path("s3://shop/log/")
    DatasetName(namespace='s3://shop', name='log')
    >>> name_of_path("https://reader:secret@example.com/log.csv?signature=secret")
    DatasetName(namespace='https://example.com', name='log.csv')
    """
    local = path.removeprefix("file://")
    if "://" not in local:
        return DatasetName("file", os.path.abspath(local))
    parts = urlsplit(path)
    login, _, host = parts.netloc.rpartition("@")
    kept = f"{login}@{host}" if parts.scheme in _CONTAINERS and ":" not in login and login else host
    return DatasetName(f"{parts.scheme}://{kept}", parts.path.strip("/"))


def name_of_table(url: URL, *parts: str | None) -> DatasetName:
    """Return the name of a table: its database, then the parts that are given, such as schema and table."""
    kind = url.get_backend_name()
    if kind == "sqlite":
        server, database = "sqlite", os.path.abspath((url.database or ":memory:").removeprefix("file:"))
    else:
        port = "" if url.port is None else f":{url.port}"
        server, database = f"{_NAMESPACES.get(kind, kind)}://{url.host or 'localhost'}{port}", url.database or ""
    return DatasetName(server, ".".join(part for part in (database, *parts) if part))
