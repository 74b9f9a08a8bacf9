"""The tiny log in real databases: a file of SQLite, and a PostgreSQL cluster of its own; and a Redis server."""

from __future__ import annotations

import glob
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import redis
from redis.backoff import ConstantBackoff
from redis.retry import Retry
from sqlalchemy import create_engine, types

from mtl_tasks.scenario import Scenario
from tests.support.logs import tiny_scenario

PASSWORD = "s3cret-word"  # noqa: S105 - of a cluster that lives for one test session
QUERY = "SELECT * FROM log WHERE seen_at >= :start AND seen_at < :end ORDER BY seen_at, person"


def sql_scenario(url: str, **settings: Any) -> Scenario:
    """Return the tiny scenario with its log in a database, the URL in the environment variable TINY_URL if secret."""
    key = {"url_env": "TINY_URL"} if PASSWORD in url else {"url": url}
    sql = {**key, "query": QUERY, "start": "2013-05-01"}
    return tiny_scenario(source__events=None, source__sql=sql, **settings)


def fill(url: str, rows: pd.DataFrame) -> None:
    """Write the rows as table ``log``, times as the database keeps them."""
    engine = create_engine(url)
    if url.startswith("sqlite"):
        rows = rows.assign(seen_at=rows["seen_at"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
        kind: Any = types.TEXT()
    else:
        kind = types.TIMESTAMP(timezone=True)
    rows.to_sql("log", engine, if_exists="replace", index=False, dtype={"seen_at": kind})
    engine.dispose()


def postgres_programs() -> Path | None:
    """Return the folder of PostgreSQL's programs, where Debian puts them or on the path."""
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"), key=lambda path: int(path.split("/")[4]))
    program = found[-1] if found else shutil.which("initdb")
    return Path(program).resolve().parent if program else None


@contextmanager
def postgres_cluster(user: str = "tiny", password: str = PASSWORD) -> Iterator[str]:
    """Start a cluster of the user's own and yield its URL; skip the test where there is no PostgreSQL."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    who = _unprivileged(folder)
    secret = folder / "password"
    secret.write_text(password)
    data, port = folder / "data", free_port()
    if who:
        shutil.chown(secret, user=who["user"])
    initdb = [programs / "initdb", "-D", data, "-U", user, "-A", "scram-sha-256", "--pwfile", secret, "-N"]
    server = [programs / "pg_ctl", "-D", data, "-l", folder / "log", "-w"]
    try:
        subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        subprocess.run([*server, "-o", options, "start"], check=True, stdout=subprocess.DEVNULL, cwd=folder, **who)
        yield f"postgresql+psycopg://{user}:{password}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*server, "-m", "immediate", "stop"], check=False, stdout=subprocess.DEVNULL, cwd=folder, **who)
        shutil.rmtree(folder, ignore_errors=True)


def _unprivileged(folder: Path) -> dict[str, Any]:
    """The user that runs the server: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = "postgres" if "postgres" in names else "nobody"
    shutil.chown(folder, user=user)
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def redis_server(password: str = PASSWORD) -> Iterator[str]:
    """Start a Redis server that keeps nothing on disk, and yield its URL; skip the test where there is none."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no Redis here: apt-get install redis-server")
    port = free_port()
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", password]
    with tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=folder)
        try:
            url = f"redis://:{password}@127.0.0.1:{port}/0"
            with redis.Redis.from_url(url, retry=Retry(ConstantBackoff(0.05), 200)) as client:
                client.ping()
            yield url
        finally:
            process.terminate()
            process.wait()
