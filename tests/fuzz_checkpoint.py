"""Coverage-guided fuzzing of the reader of checkpoints.

Run it with `python -m tests.fuzz_checkpoint -runs=20000 -max_len=4096`.

Needs the extra `fuzz` (atheris). The options are libFuzzer's. Every input is a file of its own
making, or the shipped checkpoint with damage and, for half of those, with a digest made right
again, so that what lies behind the digest is reached too. A reader may refuse it with a
`CheckpointError` and may do nothing else: no other exception, no weights that are not finite.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
import sys
import tempfile
from types import FunctionType
from typing import Any

from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import weights_file


_SHIPPED = weights_file.SHIPPED.read_bytes()
_START = len(weights_file._MAGIC) + 8
_N_HEADER = int.from_bytes(_SHIPPED[_START - 8 : _START], "little")
_HEADER = json.loads(_SHIPPED[_START : _START + _N_HEADER])
_BODY = _SHIPPED[_START + _N_HEADER :]
# What an entry of the header may be instead.
_ODD: list[Any] = [None, 0, 1, 2, -1, 1.5, True, 10**30, "", "x", [], [[]], {}, {"x": [1]}]
_FOLDER = tempfile.TemporaryDirectory()


def damaged(data: bytes) -> bytes:
    """A file made from the fuzzer's bytes: the first one says how."""
    mode, rest = (data[0] % 5, data[1:]) if data else (0, data)
    if mode == 0:
        return rest
    if mode == 1:
        return weights_file._MAGIC + rest
    if mode == 2:  # some bytes of the shipped file are exchanged
        content = bytearray(_SHIPPED)
        for k in range(0, len(rest) - 3, 4):
            content[int.from_bytes(rest[k : k + 3], "little") % len(content)] = rest[k + 3]
        return bytes(content)
    header, body = dict(_HEADER), _BODY
    if mode == 3:  # entries of the header
        try:
            changes = json.loads(rest)
        except (ValueError, RecursionError):
            names = list(header)
            changes = {
                names[name % len(names)]: _ODD[value % len(_ODD)]
                for name, value in zip(rest[::2], rest[1::2], strict=False)
            }
        header.update(changes if isinstance(changes, dict) else {"tensors": changes})
    else:  # weights, under a right digest
        changed = bytearray(body)
        at = int.from_bytes(rest[:3], "little") % len(changed)
        changed[at : at + len(rest[3:])] = rest[3:]
        body = bytes(changed)
        header["digest"] = hashlib.sha256(body).hexdigest()
    encoded = json.dumps(header).encode()
    return weights_file._MAGIC + len(encoded).to_bytes(8, "little") + encoded + body


def read_one(data: bytes) -> bool:
    """Whether a damaged file is accepted after all; raises where it should be refused."""
    path = Path(_FOLDER.name) / "fuzzed.rocket"
    path.write_bytes(damaged(data))
    try:
        loaded = checkpoint.load(path)
    except weights_file.CheckpointError as error:
        assert str(path) in str(error)
        return False
    for weights in loaded.state_dict().values():
        assert math.isfinite(float(weights.sum())) or bool(weights.isfinite().all())
    return True


def _try(data: bytes) -> None:
    read_one(data)


def main() -> None:
    """Run the fuzzer."""
    import atheris

    for module in (weights_file, checkpoint):
        for name, value in list(vars(module).items()):
            if isinstance(value, FunctionType) and value.__module__ == module.__name__:
                setattr(module, name, atheris.instrument_func(value))
    atheris.Setup(sys.argv, _try)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
