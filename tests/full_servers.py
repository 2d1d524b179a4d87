"""Servers of our own that can be filled up: on a small disk, or with a limit of their memory."""

from __future__ import annotations

from abc import ABC
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
import os
from pathlib import Path
import shutil
import subprocess
import tempfile
import time
from typing import Any

import pytest
import sqlalchemy

from benchmarks.storages import free_port


KINDS = ("redis", "postgresql", "postgresql log", "mysql")
_SEGMENT = 1 << 20  # bytes of a file of PostgreSQL's write-ahead log
_PATIENCE = 60  # seconds for a server to start or to end


class Server(ABC):
    """A server whose room can be taken and given back.

    Attributes:
        url: That of its storage.
    """

    def __init__(self, command: list[str], user: str, url: str) -> None:
        self.url = url
        self._command, self._user = command, user
        self._process = self._started()

    @abstractmethod
    def fill(self) -> None:
        """Take all room that is left."""

    @abstractmethod
    def make_room(self) -> None:
        """Give the room back."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Whether the server answers."""

    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait(self) -> None:
        """Wait for the server; start it again where it has ended."""
        until = time.monotonic() + _PATIENCE
        while not self.is_ready():
            if not self.is_running():
                self._process = self._started()
            assert time.monotonic() < until, f"{self._command[0]} does not start"
            time.sleep(0.1)

    def end(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            self._command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            **_as_user(self._user),
        )


class _Database(Server):
    """A database, of which something is on a small disk."""

    def __init__(self, command: list[str], user: str, url: str, disk: Path) -> None:
        super().__init__(command, user, url)
        self._ballast = disk / "ballast"

    def fill(self) -> None:
        size, step = 0, 1 << 20
        with self._ballast.open("wb") as file:
            while step >= 4096:
                try:
                    os.posix_fallocate(file.fileno(), size, step)
                    size += step
                except OSError:
                    step //= 2

    def make_room(self) -> None:
        self._ballast.unlink()

    def is_ready(self) -> bool:
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.pool.NullPool)
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            return False
        return True


class _Redis(Server):
    """Redis with a limit of its memory, beyond which it takes nothing more."""

    def __init__(self, folder: Path) -> None:
        self._port = free_port()
        options = ["--port", str(self._port), "--bind", "127.0.0.1", "--save", ""]
        command = ["redis-server", *options, "--maxmemory-policy", "noeviction"]
        super().__init__([*command, "--dir", str(folder)], "", f"redis://127.0.0.1:{self._port}/0")

    def fill(self) -> None:
        with self._client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"])

    def make_room(self) -> None:
        with self._client() as client:
            client.config_set("maxmemory", 0)

    def is_ready(self) -> bool:
        import redis

        with self._client() as client:
            try:
                return bool(client.ping())
            except redis.exceptions.ConnectionError:
                return False

    def _client(self) -> Any:
        redis = pytest.importorskip("redis", reason="redis is not installed")
        return redis.Redis(port=self._port)


class _LoggingDatabase(_Database):
    """PostgreSQL whose write-ahead log is on a small disk."""

    def __init__(self, command: list[str], user: str, url: str, disk: Path) -> None:
        super().__init__(command, user, url, disk)
        self._log = disk / "wal"

    def fill(self) -> None:
        super().fill()
        # The log's files are made before they are needed: use up those that are there.
        last = max(path.name for path in self._log.iterdir() if path.is_file())
        end = (int(last[8:16], 16) * (1 << 32)) + (int(last[16:], 16) + 1) * _SEGMENT
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.pool.NullPool)
        with engine.connect() as connection:
            at = connection.scalar(sqlalchemy.text("SELECT pg_current_wal_lsn() - '0/0'"))
            write = "SELECT pg_logical_emit_message(false, '', repeat('.', :n))"
            connection.execute(sqlalchemy.text(write), {"n": end - int(at) - (1 << 16)})


@contextmanager
def running(kind: str) -> Iterator[Server]:
    """A server of one of the `KINDS`; the test is skipped where it cannot be had."""
    # Not pytest's folder, which other users may not enter.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        if kind == "redis":
            _require("redis-server")
            with _ended(_Redis(folder)) as server:
                yield server
        elif kind == "mysql":
            with _small_disk(folder, megabytes=48) as disk, _ended(_mariadb(disk)) as server:
                yield server
        elif kind == "postgresql":
            with _small_disk(folder, megabytes=40) as disk:
                with _ended(_postgresql(data=disk, log=folder, disk=disk)) as server:
                    yield server
        else:
            with _small_disk(folder, megabytes=12) as disk:
                with _ended(_postgresql(data=folder, log=disk, disk=disk)) as server:
                    yield server


def _postgresql(data: Path, log: Path, disk: Path) -> Server:
    """PostgreSQL with its tables in one folder and its write-ahead log in another."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    tables, segments = _made(data / "data", "postgres"), _made(log / "wal", "postgres")
    options = ["--auth=trust", "--username=optuna", "--no-sync", "--wal-segsize=1"]
    _run(["initdb", "-D", tables, "--waldir", segments, *options], "postgres")
    port = free_port()
    settings = {
        "port": port,
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "fsync": "off",
        "autovacuum": "off",
        "full_page_writes": "on",
    }
    words = [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
    url = f"postgresql+psycopg://optuna@127.0.0.1:{port}/postgres"
    database = _LoggingDatabase if disk == log else _Database
    return database(["postgres", "-D", tables, *words], "postgres", url, disk)


def _mariadb(disk: Path) -> Server:
    """MariaDB with all it has on a small disk."""
    pytest.importorskip("pymysql", reason="PyMySQL is not installed")
    data = _made(disk / "data", "mysql")
    options = ["--no-defaults", f"--datadir={data}", "--innodb-log-file-size=4M"]
    _run(
        ["mariadb-install-db", *options, "--auth-root-authentication-method=normal"],
        "mysql",
    )
    port = free_port()
    options += [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={data}/socket"]
    url = f"mysql+pymysql://root@127.0.0.1:{port}/test"
    return _Database(["mariadbd", *options, "--tmpdir=/tmp"], "mysql", url, disk)


@contextmanager
def _ended(server: Server) -> Iterator[Server]:
    try:
        server.wait()
        yield server
    finally:
        server.end()


@contextmanager
def _small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A disk of its own, in memory."""
    disk = folder / "disk"
    disk.mkdir()
    options = ["-t", "tmpfs", "-o", f"size={megabytes}m,mode=0755", "none", str(disk)]
    mounted = subprocess.run(["mount", *options], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def _made(folder: Path, owner: str) -> str:
    folder.mkdir()
    if os.geteuid() == 0:
        try:
            shutil.chown(folder, owner)
        except LookupError:
            pytest.skip(f"there is no user {owner}")
    return str(folder)


def _run(command: list[str], user: str) -> None:
    _require(command[0])
    subprocess.run(command, check=True, capture_output=True, cwd="/", **_as_user(user))


def _as_user(user: str) -> dict[str, Any]:
    """Databases refuse to be run by root."""
    is_root = user and os.geteuid() == 0
    return {"user": user, "group": user, "extra_groups": []} if is_root else {}


def _require(program: str) -> None:
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
