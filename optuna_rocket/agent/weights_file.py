"""The file format of checkpoints, readable without torch and without pickle.

Layout: magic line, length of the header (8 bytes, little endian), header (JSON, UTF-8), float32
values of all tensors in the order of the header. The header holds the format version, names of the
features that the network expects, tensor names and shapes, the SHA-256 digest of the values, and
how the weights were made.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


FORMAT_VERSION = 1
SHIPPED = Path(__file__).parent / "weights" / "default.rocket"
_MAGIC = b"optuna-rocket checkpoint\n"
_MAX_BYTES = 16 * 2**20
_FIX = "Use checkpoint=None for the shipped agent, or train one (optuna_rocket.training)."


class CheckpointError(ValueError):
    """A checkpoint file that cannot be used; the message names the file and the fix."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"checkpoint={str(path)!r} cannot be used: {reason}. {_FIX}")


def write(path: str | Path, header: dict[str, Any], body: bytes) -> None:
    """Write a checkpoint; format version and digest are added to the header."""
    header = {
        "format_version": FORMAT_VERSION,
        **header,
        "digest": hashlib.sha256(body).hexdigest(),
    }
    encoded = json.dumps(header, indent=1).encode()
    Path(path).write_bytes(_MAGIC + len(encoded).to_bytes(8, "little") + encoded + body)


def read(path: str | Path) -> tuple[dict[str, Any], bytes]:
    """Header and values of a checkpoint whose format version and digest are right.

    Raises:
        CheckpointError: If the file is missing, not a checkpoint, truncated, altered, or newer.
    """
    content = _read_bytes(Path(path))
    if not content.startswith(_MAGIC):
        raise CheckpointError(path, "it is not a checkpoint of optuna-rocket")
    start = len(_MAGIC) + 8
    size = int.from_bytes(content[len(_MAGIC) : start], "little")
    try:
        header = json.loads(content[start : start + size])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(path, "its header is damaged") from error
    if not isinstance(header, dict) or type(header.get("format_version")) is not int:
        raise CheckpointError(path, "its header is damaged")
    if header["format_version"] > FORMAT_VERSION:
        newer = f"its format_version={header['format_version']} is newer than {FORMAT_VERSION}"
        raise CheckpointError(path, f"{newer}, upgrade optuna-rocket")
    body = content[start + size :]
    if hashlib.sha256(body).hexdigest() != header.get("digest"):
        raise CheckpointError(
            path, "its digest does not match: the weights are truncated or altered"
        )
    return header, body


def _read_bytes(path: Path) -> bytes:
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise CheckpointError(path, f"it is larger than {_MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise CheckpointError(path, f"it cannot be read ({error})") from error
