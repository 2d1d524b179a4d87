from __future__ import annotations

import importlib
from pathlib import Path
import pkgutil
import re
from urllib.error import URLError

import pytest

from benchmarks.deep_learning import sources
from benchmarks.deep_learning.sources import archives
from benchmarks.deep_learning.sources.archives import DATA_VARIABLE
from benchmarks.deep_learning.sources.archives import Archive
from benchmarks.deep_learning.sources.archives import DataError
from benchmarks.deep_learning.tasks import TASKS


# Drawn from a seed alone, or part of scikit-learn.
MADE = {"images/digits", "segmentation/shapes", "detection/shape_scenes", "audio/instruments"}


def all_archives() -> dict[str, Archive]:
    modules = [
        importlib.import_module(f"{sources.__name__}.{module.name}")
        for module in pkgutil.iter_modules(sources.__path__)
    ]
    found = [x for module in modules for x in vars(module).values() if isinstance(x, Archive)]
    return {archive.name: archive for archive in found}


def test_every_archive_is_pinned() -> None:
    known = all_archives()
    assert len(known) == 14
    assert len({archive.digest for archive in known.values()}) == len(known)
    for archive in known.values():
        assert re.fullmatch("[0-9a-f]{40}", archive.commit), archive.name
        assert re.fullmatch("[0-9a-f]{64}", archive.digest), archive.name
        assert archive.licence
        assert archive.url() == (
            f"https://codeload.github.com/{archive.repository}/tar.gz/{archive.commit}"
        )


@pytest.mark.parametrize("name", [name for name in TASKS if name not in MADE])
def test_without_data_and_network_a_task_says_what_to_do(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def no_network(url: str, timeout: float) -> None:
        asked.append(url)
        raise URLError("no network")

    monkeypatch.setattr(archives, "urlopen", no_network)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(DataError, match="no network") as raised:
        TASKS[name].load()
    assert asked[0] in [archive.url() for archive in all_archives().values()]
    for said in (DATA_VARIABLE, str(tmp_path / "data"), str(tmp_path / "cache"), asked[0]):
        assert said in str(raised.value)
    assert [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == []
