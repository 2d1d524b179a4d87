"""Past studies of a storage, each over its own space, to make training tasks of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.study import Study

from optuna_rocket import gaps
from optuna_rocket import rows as encoding
from optuna_rocket.history import History
from optuna_rocket.source_studies import open_storage
from optuna_rocket.source_studies import reason
from optuna_rocket.source_studies import usable
from optuna_rocket.space import Geometry
from optuna_rocket.space import Space


MIN_TRIALS = 10
_MAX_TRIALS = 128


@dataclass(frozen=True)
class PastStudy:
    """A study that has something to teach.

    Attributes:
        name: Its name.
        history: Its trials with a score, a batch of one.
        geometry: Its space, a batch of one.
    """

    name: str
    history: History
    geometry: Geometry


def read_past_studies(
    storage: str, names: Sequence[str] = ()
) -> tuple[list[PastStudy], dict[str, str]]:
    """Read studies; nothing is written.

    Args:
        storage: URL of a database.
        names: Which studies; all of them where none is named.

    Returns:
        Those that can be used, and for each other one the reason why not.

    Raises:
        ValueError: If the storage cannot be opened or lacks a study that is named.
    """
    try:
        opened = open_storage(storage)
        known = optuna.get_all_study_names(opened)
    except Exception as error:
        raise ValueError(
            f"storage={storage!r} cannot be opened: {reason(error)}. Give the URL of a database "
            "that holds the studies, such as sqlite:///studies.db."
        ) from error
    missing = [name for name in names if name not in known]
    if missing:
        raise ValueError(
            f"storage={storage!r} has no studies {missing}. Name some of the {len(known)} that "
            f"it has ({', '.join(map(repr, known[:10]))}{', ...' if len(known) > 10 else ''}), "
            "or none for all."
        )
    found, left_out = [], {}
    for name in dict.fromkeys(names) if names else known:
        try:
            found.append(_past(optuna.load_study(study_name=name, storage=opened)))
        except Exception as error:
            left_out[name] = reason(error)
    return found, left_out


def _past(study: Study) -> PastStudy:
    found = usable(study, MIN_TRIALS, _MAX_TRIALS)
    space = Space(found.distributions)
    rows = encoding.encode_rows(found.records, space)
    history, geometry, _ = gaps.explained(rows)
    return PastStudy(str(study.study_name), history, geometry)
