"""The agent's reasons for one trial: the record, and its wording."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
import math
from typing import Literal

from optuna_rocket.forecasts import RungForecast


Origin = Literal["agent", "enqueued", "unknown", "waiting"]
KIND_WORDS = {
    "random": "a random configuration",
    "density": "a draw in which every parameter comes from a good trial of its own",
    "crossover": "a crossover of two good trials",
    "mutation": "a mutation: a good trial with a few parameters changed",
    "local": "a local step: one of the best three trials, moved a little",
}
_LONGEST_NAME = 40
_N_RELEVANT = 3


@dataclass(frozen=True)
class Explanation:
    """Why a trial has the configuration that it has, and what the agent thought of it.

    *Stored* with a trial that the agent suggested are the kind of the proposal, ``mean`` and
    ``std``. Everything else is *recomputed* from what was stored when the trial started. The seed
    of a suggestion is not stored: ``share``, ``rank`` and ``entropy`` are the policy's view of the
    configuration among candidates that are proposed afresh, which are alike but not the same.
    Of trials by others ``mean`` and ``std`` are recomputed too: what the agent would have thought.

    Attributes:
        number: The trial's number.
        trial_state: Name of its ``TrialState``.
        origin: ``"agent"``: suggested by the agent, all parameters at once. ``"enqueued"``: every
            value was given to ``study.enqueue_trial``. ``"unknown"``: nothing that can be read is
            stored; another sampler, a trial added by hand, or the agent asked for one parameter
            at a time (as in the first trial of a study). ``"waiting"``: not started.
        enqueued: Names of the parameters whose values were enqueued.
        value: Objective value, of a pruned trial the last report; None where there is none.
        is_minimized: Whether less is better.
        constraints: Constraint name to its value; feasible means at most 0.
        n_finished: Trials that had ended when this one started.
        n_running: Trials that were running then.
        is_start: Whether fewer than five scores were known, so that the trials were spread out
            whatever was expected of them.
        kind: Kind of the proposal, one of ``features.PROPOSAL_KINDS``; None where unknown.
        mean: Expected transformed score (greater is better; the trials then had mean 0 and
            standard deviation 1); NaN where unknown.
        std: Its standard deviation, without the noise of an evaluation; NaN where unknown.
        is_recomputed: Whether ``mean`` and ``std`` are recomputed.
        expected: ``mean`` as an objective value; NaN until two scores differ. Cut where scores
            count as equally bad, as is ``interval``.
        interval: Bounds that were to hold the objective value with probability 0.8.
        failure: Chance to fail, in [0, 1]; 0 as long as no trial has failed.
        incumbent: Number of the best trial then, pruned ones included; None if there was none.
        distance: Distance from it over all parameters, from 0 (the same) to 1; NaN without one.
        share: The policy's probability of this configuration among the candidates, in [0, 1].
        rank: Its place among them, 1 the most probable.
        n_candidates: Their number, 0 where there was nothing to choose.
        entropy: Of the policy's probabilities, in nats; ``exp(entropy)`` is the number of equally
            good candidates that would leave it as undecided.
        relevance: Parameter to its share of the memory's distances then, greatest first; empty
            before the first fit. See ``hindsight.View.relevance``.
        forecast: Of a pruned trial, the forecast at its last report; None where there is none.
        sources: Name of each earlier study (``RocketSampler(source_studies=...)``) to its
            influence then, greatest first: how much of what it expects, in standard deviations of
            its own scores, was expected here. Of good sources together about 1; 0 is none.
        priors: Name of each parameter with a guess to that guess's influence then.
    """

    number: int
    trial_state: str
    origin: Origin
    enqueued: tuple[str, ...]
    value: float | None
    is_minimized: bool
    constraints: Mapping[str, float]
    n_finished: int
    n_running: int
    is_start: bool
    kind: str | None
    mean: float
    std: float
    is_recomputed: bool
    expected: float
    interval: tuple[float, float]
    failure: float
    incumbent: int | None
    distance: float
    share: float
    rank: int
    n_candidates: int
    entropy: float
    relevance: Mapping[str, float]
    forecast: RungForecast | None
    sources: Mapping[str, float] = field(default_factory=dict)
    priors: Mapping[str, float] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The same as a paragraph; names are shortened and their line breaks removed."""
        return " ".join(_sentences(self))

    def __str__(self) -> str:
        return self.text


def _sentences(of: Explanation) -> Iterator[str]:
    if of.origin == "waiting":
        yield f"Trial {of.number} waits in the queue: nothing has been suggested for it yet."
        return
    yield from _origin(of)
    yield from _expectation(of)
    if of.incumbent is not None:
        same = " (0 is the same, 1 the other end of every range)"
        yield f"It lies {of.distance:.2f} from the best trial then, number {of.incumbent}{same}."
    yield from _policy(of)
    if of.relevance:
        most = list(of.relevance.items())[:_N_RELEVANT]
        shares = ", ".join(f"{short_name(name)} {_percent(share)}" for name, share in most)
        yield f"What moved scores most, as learned so far: {shares}."
    yield from _experience(of)
    yield from _result(of)


def _origin(of: Explanation) -> Iterator[str]:
    running = f" and {of.n_running} running" if of.n_running else ""
    trials = "trial" if of.n_finished + of.n_running == 1 else "trials"
    after = f"after {of.n_finished} finished{running} {trials}"
    if of.origin == "enqueued":
        yield f"Trial {of.number} was enqueued and started {after}."
    elif of.origin == "unknown":
        yield (
            f"Trial {of.number} started {after}. Nothing is stored about its suggestion: it comes "
            "from another sampler, was added by hand, or its parameters were asked for one by "
            "one, as in the first trial of a study. What follows is recomputed."
        )
    else:
        kind = KIND_WORDS.get(of.kind or "", "of a kind that this version does not know")
        yield f"Trial {of.number} was suggested by the agent {after}; it is {kind}."
        if of.enqueued:
            names = ", ".join(map(short_name, of.enqueued))
            yield f"Enqueued, and imposed on the agent: {names}."
    if of.is_start:
        yield "With fewer than five scores the trials are spread out whatever is expected of them."


def _expectation(of: Explanation) -> Iterator[str]:
    if math.isnan(of.mean):
        return
    low, high = of.interval
    says = "The agent expected" if of.origin == "agent" else "The agent would have expected"
    own_scale = f"{of.mean:+.2f} ± {of.std:.2f} on its own scale, where greater is better"
    if math.isnan(of.expected):
        yield f"No two scores differed yet, so no value could be expected ({own_scale})."
    else:
        yield (
            f"{says} {of.expected:.4g}, with 80 % between {low:.4g} and {high:.4g} ({own_scale})."
        )
    if of.failure > 0:
        yield f"Its chance to fail: {_percent(of.failure)}."


def _experience(of: Explanation) -> Iterator[str]:
    for influences, what in ((of.sources, "earlier studies"), (of.priors, "guesses")):
        heard = [(name, share) for name, share in influences.items() if share > 0]
        if influences and not heard:
            yield (
                f"The {what} have no influence here: the trial is a control, or the trials before "
                "it speak against them or are enough by themselves."
            )
        elif heard:
            named = [f"{short_name(name)} {share:.2f}" for name, share in heard[:_N_RELEVANT]]
            most = ", ".join(named)
            yield (
                f"Of {len(influences)} {what} {len(heard)} have influence, most of all {most} "
                f"(together {sum(share for _, share in heard):.2f})."
            )


def _policy(of: Explanation) -> Iterator[str]:
    if of.n_candidates < 2:
        return
    place = "first" if of.rank == 1 else f"number {of.rank}"
    yield (
        f"Among {of.n_candidates} candidates proposed afresh the policy puts it {place}, with "
        f"{_percent(of.share)} of its probability; it is as undecided as between "
        f"{math.exp(of.entropy):.1f} equal ones."
    )


def _result(of: Explanation) -> Iterator[str]:
    if of.trial_state == "FAIL":
        yield "It failed."
    elif of.trial_state == "RUNNING":
        yield "It is running."
    elif of.value is not None and of.trial_state == "COMPLETE":
        yield f"Its value is {of.value:.4g}{_compared(of)}."
    elif of.trial_state == "PRUNED":
        last = f" at a last report of {of.value:.4g}" if of.value is not None else ""
        yield f"It was pruned{last}."
    if of.forecast is not None:
        low, high = of.forecast.interval
        yield (
            f"The forecast from report step {of.forecast.step}: a final value of "
            f"{of.forecast.expected:.4g}, with 80 % between {low:.4g} and {high:.4g}, and a "
            f"chance of {_percent(of.forecast.beats_best)} to be the best so far."
        )
    violated = [f"{short_name(k)} = {v:.4g}" for k, v in of.constraints.items() if v > 0]
    if violated:
        yield f"It violates constraints: {', '.join(violated)}."


def _compared(of: Explanation) -> str:
    if of.value is None or math.isnan(of.expected):
        return ""
    low, high = of.interval
    if low <= of.value <= high:
        return ", as expected"
    is_better = (of.value < low) == of.is_minimized
    return f", {'better' if is_better else 'worse'} than expected"


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "less than 1 %"
    return f"{100 * share:.0f} %"


def short_name(name: object, longest: int = _LONGEST_NAME) -> str:
    """A name or value on one line, without control characters, cut where it is long."""
    plain = "".join(c if c.isprintable() else " " for c in str(name))
    return plain if len(plain) <= longest else plain[: longest - 1] + "…"
