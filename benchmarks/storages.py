"""Places to keep a study in: opened by URL, and made empty on the servers that can be reached.

The environment names the servers; the defaults are local ones without a password:

    OPTUNA_ROCKET_POSTGRESQL   postgresql+psycopg://root@127.0.0.1:5432/postgres
    OPTUNA_ROCKET_MYSQL        mysql+pymysql://root@127.0.0.1:3306/test
    OPTUNA_ROCKET_REDIS        redis://127.0.0.1:6379/0

Nothing that these servers hold is read or changed: every study gets a database, or a prefix of
keys, of its own, which is dropped at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import socket
import subprocess
import sys
from typing import Any
import uuid
import warnings

import optuna
from optuna.storages import BaseStorage
from optuna.storages import GrpcStorageProxy
from optuna.storages import JournalStorage
from optuna.storages import RDBStorage
from optuna.storages import get_storage
from optuna.storages.journal import JournalFileBackend
from optuna.storages.journal import JournalRedisBackend
import sqlalchemy


# Those of a machine's own disk, those behind a server, and the proxy in front of one of these.
FILES = ("sqlite", "journal")
SERVERS = ("postgresql", "mysql", "redis")
KINDS = (*FILES, *SERVERS, "grpc")

_DEFAULTS = {
    "postgresql": "postgresql+psycopg://root@127.0.0.1:5432/postgres",
    "mysql": "mysql+pymysql://root@127.0.0.1:3306/test",
    "redis": "redis://127.0.0.1:6379/0",
}
_TIMEOUT = 3  # seconds to reach a server
_PROXY = """
import sys
from optuna.storages import get_storage, run_grpc_proxy_server
run_grpc_proxy_server(get_storage(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
"""


class Unreachable(Exception):
    """A server, or the driver for it, is not there; the message says which."""


def open_storage(url: str, **rdb_options: Any) -> BaseStorage:
    """Open the storage behind a URL.

    Args:
        url: A database URL as SQLAlchemy has them, ``redis://host:port/db#prefix``,
            ``grpc://host:port``, or the path of a journal file.
        rdb_options: Arguments of ``RDBStorage``, such as a heartbeat; others take none.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        if url.startswith("grpc://"):
            host, port = url.removeprefix("grpc://").split(":")
            return GrpcStorageProxy(host=host, port=int(port))
        if url.startswith("redis://"):
            server, _, prefix = url.partition("#")
            return JournalStorage(JournalRedisBackend(server, prefix=prefix))
        if "://" in url:
            return get_storage(RDBStorage(url, **rdb_options))
        return JournalStorage(JournalFileBackend(url))


@contextmanager
def opened(url: str, **rdb_options: Any) -> Iterator[BaseStorage]:
    """Open a storage and close its connections afterwards, which Optuna leaves to the process."""
    storage = open_storage(url, **rdb_options)
    try:
        yield storage
    finally:
        database = getattr(storage, "_backend", None)
        if isinstance(storage, GrpcStorageProxy):
            storage.close()
        elif isinstance(database, RDBStorage):
            storage.remove_session()
            database.engine.dispose()
        elif isinstance(database, JournalRedisBackend):
            database._redis.close()


@contextmanager
def empty_storage(kind: str, folder: Path) -> Iterator[str]:
    """Yield the URL of an empty storage, which is gone afterwards.

    Args:
        kind: One of `KINDS`. ``grpc`` is a proxy before PostgreSQL or, without it, SQLite.
        folder: Where files may lie.

    Raises:
        Unreachable: If the server, or the package that talks to it, is not there.
    """
    name = f"optuna_rocket_{uuid.uuid4().hex[:12]}"
    if kind == "sqlite":
        yield f"sqlite:///{folder / name}.db"
    elif kind == "journal":
        yield str(folder / f"{name}.log")
    elif kind == "redis":
        with _redis_prefix(server_url("redis"), name) as url:
            yield url
    elif kind == "grpc":
        _import("grpc", "grpcio")
        behind = "postgresql" if _is_reachable("postgresql", folder) else "sqlite"
        with empty_storage(behind, folder) as url, grpc_proxy(url) as proxy:
            yield proxy
    else:
        with _database(server_url(kind), name) as url:
            yield url


def server_url(kind: str) -> str:
    """The URL of a server: what the environment says, or the default."""
    return os.environ.get(f"OPTUNA_ROCKET_{kind.upper()}", _DEFAULTS[kind])


@contextmanager
def grpc_proxy(url: str) -> Iterator[str]:
    """Run a proxy before a database, in a process of its own, and yield the proxy's URL."""
    port = free_port()
    server = subprocess.Popen([sys.executable, "-W", "ignore", "-c", _PROXY, url, str(port)])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            proxy = GrpcStorageProxy(host="127.0.0.1", port=port)
        try:
            proxy.wait_server_ready(timeout=60)
        finally:
            proxy.close()
        yield f"grpc://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _database(server: str, name: str) -> Iterator[str]:
    """A new database of a PostgreSQL, MySQL or MariaDB server."""
    url = sqlalchemy.make_url(server)
    _import(url.get_driver_name(), url.get_driver_name())
    engine = sqlalchemy.create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        poolclass=sqlalchemy.pool.NullPool,
        connect_args={"connect_timeout": _TIMEOUT},
    )
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {name}"))
    except sqlalchemy.exc.OperationalError as error:
        raise Unreachable(f"{url.render_as_string()} cannot be used: {error.orig}") from error
    try:
        yield url.set(database=name).render_as_string(hide_password=False)
    finally:
        force = " WITH (FORCE)" if url.get_backend_name() == "postgresql" else ""
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"DROP DATABASE {name}{force}"))


@contextmanager
def _redis_prefix(server: str, prefix: str) -> Iterator[str]:
    """A prefix of its own for the keys in a Redis server."""
    redis = _import("redis", "redis")
    client = redis.Redis.from_url(server, socket_connect_timeout=_TIMEOUT)
    try:
        client.ping()
    except redis.exceptions.RedisError as error:
        raise Unreachable(f"{server} cannot be used: {error}") from error
    try:
        yield f"{server}#{prefix}"
    finally:
        for key in client.scan_iter(f"{prefix}:*"):
            client.delete(key)
        client.close()


def _is_reachable(kind: str, folder: Path) -> bool:
    try:
        with empty_storage(kind, folder):
            return True
    except Unreachable:
        return False


def _import(module: str, package: str) -> Any:
    try:
        return __import__(module)
    except ImportError as error:
        raise Unreachable(
            f"{package} is not installed: pip install 'optuna-rocket[storages]'"
        ) from error
