from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import make_url

from mtl_tasks.integrations.dataset_names import name_of_path, name_of_table


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("s3://shop/log", ("s3://shop", "log")),
        ("s3://key:secret@shop/log/", ("s3://shop", "log")),
        ("gs://shop", ("gs://shop", "")),
        ("https://token@example.com/log.csv?X-Amz-Signature=secret#part", ("https://example.com", "log.csv")),
        (
            "abfss://container@account.dfs.core.windows.net/log",
            ("abfss://container@account.dfs.core.windows.net", "log"),
        ),
        ("abfss://user:secret@account.dfs.core.windows.net/log", ("abfss://account.dfs.core.windows.net", "log")),
        ("redis://:secret@cache:6379/1", ("redis://cache:6379", "1")),
        ("/data/log", ("file", "/data/log")),
        ("file:///data/log", ("file", "/data/log")),
    ],
)
def test_a_path_is_named_without_logins_and_queries(path: str, named: tuple[str, str]) -> None:
    assert name_of_path(path) == named


def test_a_relative_path_starts_from_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert name_of_path("log") == ("file", str(tmp_path / "log"))


@pytest.mark.parametrize(
    ("url", "named"),
    [
        (
            "postgresql+psycopg://reader:secret@db:5432/shop?password=secret",
            ("postgres://db:5432", "shop.public.served"),
        ),
        ("mariadb://reader:secret@db/shop", ("mysql://db", "shop.public.served")),
        ("sqlite:////data/shop.db", ("sqlite", "/data/shop.db.public.served")),
        ("sqlite:///file:/data/shop.db?uri=true&password=secret", ("sqlite", "/data/shop.db.public.served")),
    ],
)
def test_a_table_is_named_without_logins_and_queries(url: str, named: tuple[str, str]) -> None:
    assert name_of_table(make_url(url), "public", "served") == named


@pytest.mark.parametrize(("root", "address"), [("s3://shop", "s3://shop/a/b"), ("/data", "/data/a/b"), ("/", "/a/b")])
def test_what_is_below_a_folder_has_its_address(root: str, address: str) -> None:
    assert name_of_path(root).below("a", "b").address == address
