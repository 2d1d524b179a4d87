"""Figures and a note about the agent in optuna-dashboard, kept current while a study runs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from functools import cache
from functools import partial
import importlib
import re
import threading
from typing import TYPE_CHECKING
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial
from optuna.trial import TrialState

from optuna_rocket.arguments import check_integer
from optuna_rocket.once import Once


if TYPE_CHECKING:
    from plotly import graph_objects as go

    from optuna_rocket.suggester import Suggester
    from optuna_rocket.view import View


# The dashboard sends all figures of a study again with every look at it.
_LARGEST_FIGURE = 50_000
_N_RECENT = 200
_N_CONSTRAINED = 10
_NOTE = "note"
# Link definitions are Markdown that is never shown: what stands between them is ours.
_BEGIN, _END = "[//]: # (optuna-rocket begin)", "[//]: # (optuna-rocket end)"
_logger = optuna.logging.get_logger(f"optuna.{__name__}")


class DashboardCallback:
    """Callback of ``study.optimize`` that keeps the dashboard's figures and note current.

    A failure costs a warning, once for each figure and kind of error, and never ends the study.
    Threads and workers may each have one. When the study has ended, ``save_to_dashboard`` brings
    what the last trials have changed.

    Example:
        ```python
        study = optuna.create_study(storage="sqlite:///study.db", sampler=RocketSampler())
        study.optimize(objective, n_trials=100, callbacks=[DashboardCallback()])
        ```

        Meanwhile, elsewhere: ``optuna-dashboard sqlite:///study.db``.

    Args:
        every: After so many trials everything is brought up to date, at least 1: with 10 when
            trials 9, 19, 29 end. An update takes seconds, in the thread that ran the trial.

    Raises:
        ImportError: If plotly or optuna-dashboard is not installed.
        ValueError: If ``every`` makes no sense.
    """

    def __init__(self, *, every: int = 10) -> None:
        self._every = check_integer("every", every, least=1, fix="Use 10, for example.")
        _require()
        self._told = Once()
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Everything but the lock."""
        return {**self.__dict__, "_lock": None}

    def __setstate__(self, attributes: dict[str, Any]) -> None:
        """Restore a pickled or copied callback."""
        self.__dict__.update(attributes)
        self._lock = threading.Lock()

    def __call__(self, study: Study, trial: FrozenTrial) -> None:
        """Bring the dashboard up to date after some trials."""
        if (trial.number + 1) % self._every or not self._lock.acquire(blocking=False):
            return
        try:
            failed = _tried(study)
            new = {x: e for x, e in failed.items() if self._told.is_first((x, type(e)))}
            if new:
                _logger.warning(
                    f"The dashboard was not updated after trial {trial.number}: {_told(new)}; the "
                    "study goes on."
                )
        finally:
            self._lock.release()


def save_to_dashboard(study: Study) -> None:
    """Store three figures and a note about the agent where optuna-dashboard shows them.

    The figures are on the study's page: the policy's timeline, the slice of its expectation, and
    the cost saved, or, where no trial reports or there are several objectives, the learned
    relevance. The note explains the best and the latest trial (with several objectives the best
    compromise on the front) and lists what ``trial.set_constraint`` has stored. It takes a section
    of its own at the end of the study's note and leaves what others wrote there as it is.

    Everything is stored as study attributes, at most 50 kB a figure: the first two show the latest
    200 trials, or half as many until they are small enough, and a figure that is larger still is
    left out, with the reason in its place. A figure that fails costs a warning; the note and the
    other figures are stored all the same.

    Args:
        study: A study.

    Raises:
        ImportError: If plotly or optuna-dashboard is not installed.
        RuntimeError: If the note cannot be stored, as in a read-only storage.
    """
    failed = _save(study)
    if _NOTE in failed:
        error = failed.pop(_NOTE)
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, StorageInternalError):
            reason = "note and figures are attributes of the study: is its storage read-only?"
        raise RuntimeError(f"The note was not stored ({reason})") from error
    if failed:
        _logger.warning(f"Figures are missing in the dashboard: {_told(failed)}.")


def _told(failed: Mapping[str, Exception]) -> str:
    return "; ".join(f"{part} ({type(error).__name__}: {error})" for part, error in failed.items())


def _tried(study: Study) -> dict[str, Exception]:
    """``_save`` that never raises."""
    try:
        return _save(study)
    except Exception as error:
        return {"note and figures": error}


def _save(study: Study) -> dict[str, Exception]:
    """Store note and figures, each for itself; what failed, by its name."""
    optuna_dashboard = _require()
    from optuna_rocket import hindsight

    # One agent for all: what it believes of the first trials is worked out once.
    agent = hindsight.agent_of(study)

    def store(name: str, make: Callable[[], go.Figure]) -> None:
        optuna_dashboard.save_plotly_graph_object(study, make(), graph_object_id=f"rocket-{name}")

    parts: dict[str, Callable[[], None]] = {_NOTE: lambda: _save_note(study, agent)}
    for name, make in _figures(study, agent).items():
        parts[f"figure {name!r}"] = partial(store, name, make)
    failed: dict[str, Exception] = {}
    for part, save in parts.items():
        try:
            save()
        except Exception as error:
            failed[part] = error
    return failed


def _save_note(study: Study, agent: Suggester) -> None:
    optuna_dashboard = _require()
    section = "\n\n".join(_paragraphs(study, agent))
    note = optuna_dashboard.get_note(study)
    updated = _with_section(note, section)
    if updated != note:
        optuna_dashboard.save_note(study, updated)


def _require() -> Any:
    """The package ``optuna_dashboard``, plotly being there too."""
    from optuna_rocket.visualization import drawing

    drawing.graph_objects()
    try:
        return importlib.import_module("optuna_dashboard")
    except ImportError as error:
        raise ImportError(
            f"This needs optuna-dashboard ({error}). Install it with: "
            "pip install 'optuna-rocket[viz]'"
        ) from error


def _figures(study: Study, agent: Suggester) -> dict[str, Callable[[], go.Figure]]:
    """What makes each figure."""
    from optuna_rocket import hindsight
    from optuna_rocket.visualization import cost
    from optuna_rocket.visualization import policy_timeline
    from optuna_rocket.visualization import relevance
    from optuna_rocket.visualization import slice_expectation

    @cache
    def view() -> View:
        return hindsight.look(study, agent)

    figures: dict[str, Callable[[], go.Figure]] = {
        "policy": lambda: _small(lambda n: policy_timeline.figure(view(), n)),
        "slice": lambda: _small(lambda n: slice_expectation.figure(view(), n_recent_trials=n)),
    }
    # Trials that were added to a study of several objectives may hold reports all the same.
    if len(study.directions) == 1 and any(
        trial.intermediate_values for trial in study.get_trials(deepcopy=False)
    ):
        return {**figures, "cost": lambda: _small(lambda _: cost.plot_cost(study))}
    return {**figures, "relevance": lambda: _small(lambda _: relevance.figure(view()))}


def _small(make: Callable[[int], go.Figure]) -> go.Figure:
    """A figure of so many trials that the dashboard can have it."""
    from optuna_rocket.visualization import drawing

    for n in (_N_RECENT, _N_RECENT // 2, _N_RECENT // 4, _N_RECENT // 8):
        figure = make(n)
        if len(figure.to_json()) <= _LARGEST_FIGURE:
            return figure
    reason = "Too large for the dashboard: use optuna_rocket.visualization."
    return drawing.empty(figure.layout.title.text, reason)


def _paragraphs(study: Study, agent: Suggester) -> Iterator[str]:
    """The note, as Markdown."""
    from optuna_rocket import constraints
    from optuna_rocket.explanation import best_numbers
    from optuna_rocket.explanation import explain_by

    stored = study.get_trials(deepcopy=False)
    started = [trial for trial in stored if trial.state != TrialState.WAITING]
    best = best_numbers(study)
    yield f"## What the agent is doing, as of {len(started)} trials"
    if len(study.directions) > 1 and best:
        yield f"**The front** holds {len(best)} of them, as a compromise number {best[0]}."
    if best:
        what = "The best trial" if len(study.directions) == 1 else "The compromise"
        yield f"**{what}.** {_escape(explain_by(agent, study, best[0]).text)}"
    if started and started[-1].number not in best[:1]:
        latest = explain_by(agent, study, started[-1].number)
        yield f"**The latest trial.** {_escape(latest.text)}"
    read = {trial.number: constraints.read(trial.system_attrs) for trial in started}
    constrained = [(number, values) for number, values in read.items() if values]
    if constrained:
        yield "**Constraints** of the latest trials that have some: 0 or less is feasible."
        yield _constraint_table(constrained[-_N_CONSTRAINED:])


def _constraint_table(constrained: list[tuple[int, dict[str, float]]]) -> str:
    from optuna_rocket.names import short_name

    names = sorted({name for _, values in constrained for name in values})
    header = ["trial", *(_escape(short_name(name)) for name in names), "feasible"]
    lines = [header, ["---"] * len(header)]
    for number, values in reversed(constrained):
        shown = [f"{values[name]:.4g}" if name in values else "" for name in names]
        feasible = all(value <= 0 for value in values.values())
        lines.append([str(number), *shown, "yes" if feasible else "**no**"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _escape(text: str) -> str:
    """Text in which Markdown finds no markup."""
    # An invisible character keeps addresses from being made links: that ignores backslashes.
    unlinked = re.sub(r"(www|:(?=//)|@)", "\\1\u2060", text, flags=re.IGNORECASE)
    return re.sub(r"([!-/:-@\[-`{-~])", r"\\\1", unlinked)


def _with_section(note: str, section: str) -> str:
    """The note with our section exchanged, or added at its end."""
    ours = f"{_BEGIN}\n\n{section}\n\n{_END}"
    start = note.find(_BEGIN)
    end = note.find(_END, max(start, 0))
    if 0 <= start < end:
        return note[:start] + ours + note[end + len(_END) :]
    return f"{note.rstrip()}\n\n{ours}" if note.strip() else ours
