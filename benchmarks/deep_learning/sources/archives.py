"""Archives of public repositories at a pinned commit: found offline or fetched, verified, read.

Nothing is unpacked to disk and nothing is unpickled: the files of an archive are read into memory
under their path within the repository.
"""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from http.client import HTTPException
import os
from pathlib import Path
from pathlib import PurePosixPath
import re
import tarfile
import tempfile
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from tqdm import tqdm  # type: ignore[import-untyped]


DATA_VARIABLE = "OPTUNA_ROCKET_DATA"
_HOST = "https://codeload.github.com"
_MAX_FILE_BYTES = 64 * 2**20
_CHUNK = 2**16
_TIMEOUT_SECONDS = 60


class DataError(Exception):
    """A data set is not there, or is not what it should be; the message says what to do."""


@dataclass(frozen=True)
class Archive:
    """Some files of a public repository at one commit.

    Args:
        name: Name of the archive ``NAME.tar.gz`` in the data folder.
        repository: ``OWNER/NAME`` on GitHub.
        commit: The full hash.
        files: Regular expression that the whole path of a file must match to be read.
        digest: SHA-256 of the listing of these files, one line ``SHA-256  PATH`` each, sorted by
            path: what ``sha256sum FILES | LC_ALL=C sort -k2 | sha256sum`` prints. The archive as
            GitHub sends it has no lasting checksum, its files have.
        licence: Of the data.
    """

    name: str
    repository: str
    commit: str
    files: str
    digest: str
    licence: str

    @property
    def file_name(self) -> str:
        """Name of the file in the data folder."""
        return f"{self.name}.tar.gz"

    def url(self, host: str = _HOST) -> str:
        """Where the archive of the whole repository is fetched from."""
        return f"{host}/{self.repository}/tar.gz/{self.commit}"


def read_archive(archive: Archive, *, host: str = _HOST) -> dict[str, bytes]:
    """Return the verified files of an archive by their path within the repository.

    The archive is looked for in the folder that ``OPTUNA_ROCKET_DATA`` names, then in the cache;
    otherwise it is fetched into the cache.

    Args:
        archive: The archive.
        host: Where repositories are fetched from.

    Raises:
        DataError: If it is nowhere to be had, or its files are not those of the commit.
    """
    local = _local_path(archive)
    if local is not None:
        with local.open("rb") as file:
            return _verified(archive, file, str(local))
    cached = cache_folder() / archive.file_name
    with tempfile.TemporaryDirectory(dir=cached.parent) as folder:
        fetched = Path(folder) / archive.file_name
        _fetch(archive, archive.url(host), fetched)
        with fetched.open("rb") as file:
            files = _verified(archive, file, archive.url(host))
        fetched.replace(cached)
    return files


def cache_folder() -> Path:
    """The folder for what was fetched or computed; it is made if it is not there."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(root) / "optuna-rocket"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def is_offline(archive: Archive) -> bool:
    """Whether an archive can be read without the network."""
    return _local_path(archive) is not None


def _local_path(archive: Archive) -> Path | None:
    named = os.environ.get(DATA_VARIABLE)
    folders = ([Path(named)] if named else []) + [cache_folder()]
    paths = [folder / archive.file_name for folder in folders]
    return next((path for path in paths if path.is_file()), None)


def _fetch(archive: Archive, url: str, path: Path) -> None:
    try:
        with urlopen(url, timeout=_TIMEOUT_SECONDS) as response, path.open("wb") as file:
            total = int(response.headers.get("Content-Length") or 0) or None
            with tqdm(total=total, unit="B", unit_scale=True, desc=archive.name) as bar:
                while chunk := response.read(_CHUNK):
                    file.write(chunk)
                    bar.update(len(chunk))
    except (URLError, HTTPException, OSError) as error:
        named = os.environ.get(DATA_VARIABLE)
        looked = f"the folder {named}" if named else f"a folder that {DATA_VARIABLE} names (unset)"
        raise DataError(
            f"{archive.file_name} is neither in {looked} nor in {cache_folder()}, and {url} "
            f"cannot be fetched ({error}). Connect to the network, or put the archive into a "
            f"folder and name that in {DATA_VARIABLE}."
        ) from error


def _verified(archive: Archive, file: IO[bytes], place: str) -> dict[str, bytes]:
    try:
        files = _members(archive, file, place)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise DataError(
            f"{place} is no readable tar.gz archive ({error}). Delete it and try again."
        ) from error
    listing = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {path}\n"
        for path, content in sorted(files.items())
    )
    digest = hashlib.sha256(listing.encode()).hexdigest()
    if digest != archive.digest:
        raise DataError(
            f"{place}: the checksum of its {len(files)} files is {digest}, that of "
            f"{archive.repository} at {archive.commit} is {archive.digest}. Delete it and try "
            "again, and do not use it."
        )
    return files


def _members(archive: Archive, file: IO[bytes], place: str) -> dict[str, bytes]:
    wanted = re.compile(archive.files)
    files = {}
    with tarfile.open(fileobj=file, mode="r:gz") as tar:
        for member in tar:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise DataError(
                    f"{place} holds the path {member.name!r}, which leaves its folder."
                )
            inner = "/".join(path.parts[1:])  # without the archive's own folder
            if not member.isfile() or not wanted.fullmatch(inner):
                continue
            if member.size > _MAX_FILE_BYTES:
                raise DataError(f"{place}: {member.name!r} has {member.size} bytes, too many.")
            content = tar.extractfile(member)
            assert content is not None  # of a regular file
            files[inner] = content.read()
    return files
