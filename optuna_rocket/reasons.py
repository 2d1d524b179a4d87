"""The agent's reasons for one trial, as data; ``wording`` makes a paragraph of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Literal

from optuna_rocket.alternatives import BranchChoice
from optuna_rocket.forecasts import RungForecast
from optuna_rocket.instances import InstanceStop


Origin = Literal["agent", "enqueued", "unknown", "none", "waiting"]


@dataclass(frozen=True)
class ObjectiveOutlook:
    """What the agent expected of one objective of a trial.

    Attributes:
        name: What the study calls the objective.
        is_minimized: Whether less is better.
        value: Objective value, of a pruned trial the last report, or the mean of those about one
            instance each; None where there is none.
        mean: Expected transformed score (greater is better; the trials then had mean 0 and
            standard deviation 1); NaN where unknown.
        std: Its standard deviation, without the noise of an evaluation; NaN where unknown.
        expected: ``mean`` as an objective value; NaN until two scores differ. Cut where scores
            count as equally bad: see ``is_cut``.
        interval: Bounds that were to hold the objective value with probability 0.8, wider than
            ``std`` would make them: see ``bands``. Infinite where scores beyond count as equally
            bad, or as equally better than the best one.
        told_apart: The lowest and the highest objective value that counted by themselves then:
            all values beyond were equally bad, or equally better than the best one. NaN until two
            scores differ.
        relevance: Parameter to its share of the memory's distances then, greatest first; empty
            before the first fit and until two scores differ, and far from settled with fewer than
            ten scores. See ``view.View.relevance``.
    """

    name: str
    is_minimized: bool
    value: float | None
    mean: float = math.nan
    std: float = math.nan
    expected: float = math.nan
    interval: tuple[float, float] = (math.nan, math.nan)
    told_apart: tuple[float, float] = (math.nan, math.nan)
    relevance: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_cut(self) -> bool:
        """Whether that value *or a worse one* was expected, worse ones being equally bad."""
        return self.expected == self.told_apart[self.is_minimized]


@dataclass(frozen=True)
class Explanation:
    """Why a trial has the configuration that it has, and what the agent thought of it.

    *Stored* with a trial that the agent suggested are the kind of the proposal, and ``mean`` and
    ``std`` of the first objective. Everything else is *recomputed* from what was stored when the
    trial started. The seed of a suggestion is not stored: ``share``, ``rank`` and ``entropy`` are
    the policy's view of the configuration among candidates that are proposed afresh, which are
    alike but not the same. Of trials by others everything is recomputed: what the agent would have
    thought.

    In a study of one objective ``value``, ``is_minimized``, ``mean``, ``std``, ``expected``,
    ``interval``, ``told_apart``, ``is_cut`` and ``relevance`` are those of ``objectives[0]``; as
    in Optuna they raise ``RuntimeError`` where there are several.

    Attributes:
        number: The trial's number.
        trial_state: Name of its ``TrialState``.
        origin: ``"agent"``: suggested by the agent, all parameters at once. ``"enqueued"``: every
            value was given to ``study.enqueue_trial``. ``"unknown"``: nothing that can be read is
            stored; another sampler, a trial added by hand, or the agent asked for one parameter
            at a time (as in the first trial of a study). ``"none"``: it has asked for no
            parameter, so nothing is expected of it. ``"waiting"``: not started.
        enqueued: Names of the parameters whose values were enqueued.
        replaced: Names of the parameters whose suggested values lay outside of the trial's own
            ranges, so that others ran: kind and expectation of the suggestion do not hold for it.
        earlier_runs: Numbers of the trials of which this one is another run, because their workers
            died.
        objectives: What was expected of each objective, see ``ObjectiveOutlook``.
        constraints: Constraint name to its value; feasible means at most 0.
        n_finished: Trials that had ended when this one started, without those that were run again.
        n_running: Trials that were running then.
        n_scored: Trials that had a score for every objective then, pruned ones too.
        is_start: Whether it was among the first trials, which are spread out whatever is expected
            of them: fewer than five scores were known and no experience was heeded. Experience
            that is not heeded makes the start one trial longer.
        is_elsewhere: Whether the study had not risen for long and it was the trial's turn to look
            elsewhere, far from all trials and whatever was expected of it; ``share`` and ``rank``
            are then by that.
        kind: Kind of the proposal, one of ``features.PROPOSAL_KINDS``; None where unknown, and
            where the trial ran something else.
        is_recomputed: Whether ``mean`` and ``std`` of the first objective are recomputed.
        failure: Chance to fail, in [0, 1]; 0 as long as no trial has failed.
        feasibility: Chance to satisfy all constraints, in [0, 1]; 1 where none is known.
        n_best: Number of the best trials then: 1, of several objectives those on the front
            (dominated by no other); 0 if none was feasible.
        incumbent: Number of the best trial then, pruned ones included, of several the nearest one;
            None if there was none. Of one objective, while no trial is feasible, the one that
            violated least.
        distance: Distance from it over all parameters, from 0 (the same) to 1, more where a value
            lies beyond its range of that time; NaN without one.
        hypervolume_gain: Expected growth of the hypervolume that the front dominated, as a share
            of it; ``fronts`` says from which reference point. NaN for one objective.
        is_best: Whether the trial is today the best one, or on the front.
        share: The policy's probability of this configuration among the candidates, in [0, 1].
        rank: Its place among them, 1 the most probable.
        n_candidates: Their number, 0 where there was nothing to choose.
        entropy: Of the policy's probabilities, in nats; ``exp(entropy)`` is the number of equally
            good candidates that would leave it as undecided.
        branch: In a conditional space, where the trial's turn was to choose a branch first: that
            choice; ``rank`` is then its place inside of the branch. None otherwise.
        forecast: Of a pruned trial, the forecast at its last report; None where there is none, as
            where reports are about one instance each.
        instances: Of a pruned trial that went through instances, where it was stopped and what its
            results there stand for; None otherwise.
        sources: Name of each earlier study (``RocketSampler(source_studies=...)``) to its
            influence then, greatest first: how much of what it expects, in standard deviations of
            its own scores, was expected here. Of good sources together about 1; 0 is none.
            Negative where the study is read turned round, with its worst for the best, because it
            foretells the opposite of what is found here: its direction should be checked.
        priors: Name of each parameter with a guess to that guess's influence then.
        text: The same as a paragraph; names are shortened and their line breaks removed.
    """

    number: int
    trial_state: str
    origin: Origin
    objectives: tuple[ObjectiveOutlook, ...]
    enqueued: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    earlier_runs: tuple[int, ...] = ()
    constraints: Mapping[str, float] = field(default_factory=dict)
    n_finished: int = 0
    n_running: int = 0
    n_scored: int = 0
    is_start: bool = False
    is_elsewhere: bool = False
    kind: str | None = None
    is_recomputed: bool = True
    failure: float = 0.0
    feasibility: float = 1.0
    n_best: int = 0
    incumbent: int | None = None
    distance: float = math.nan
    hypervolume_gain: float = math.nan
    is_best: bool = False
    share: float = math.nan
    rank: int = 0
    n_candidates: int = 0
    entropy: float = math.nan
    branch: BranchChoice | None = None
    forecast: RungForecast | None = None
    instances: InstanceStop | None = None
    sources: Mapping[str, float] = field(default_factory=dict)
    priors: Mapping[str, float] = field(default_factory=dict)
    text: str = field(default="", repr=False)

    @property
    def value(self) -> float | None:
        """``objectives[0].value``."""
        return self._only.value

    @property
    def is_minimized(self) -> bool:
        """``objectives[0].is_minimized``."""
        return self._only.is_minimized

    @property
    def mean(self) -> float:
        """``objectives[0].mean``."""
        return self._only.mean

    @property
    def std(self) -> float:
        """``objectives[0].std``."""
        return self._only.std

    @property
    def expected(self) -> float:
        """``objectives[0].expected``."""
        return self._only.expected

    @property
    def interval(self) -> tuple[float, float]:
        """``objectives[0].interval``."""
        return self._only.interval

    @property
    def told_apart(self) -> tuple[float, float]:
        """``objectives[0].told_apart``."""
        return self._only.told_apart

    @property
    def is_cut(self) -> bool:
        """``objectives[0].is_cut``."""
        return self._only.is_cut

    @property
    def relevance(self) -> Mapping[str, float]:
        """``objectives[0].relevance``."""
        return self._only.relevance

    @property
    def _only(self) -> ObjectiveOutlook:
        if len(self.objectives) > 1:
            raise RuntimeError(
                f"The study has {len(self.objectives)} objectives: look into `objectives` of the "
                "explanation, which holds one entry for each."
            )
        return self.objectives[0]

    def __str__(self) -> str:
        return self.text
