"""An explanation as a readable paragraph."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
import math

from optuna_rocket.alternatives import BranchChoice
from optuna_rocket.instances import InstanceStop
from optuna_rocket.names import short_name
from optuna_rocket.reasons import Explanation
from optuna_rocket.reasons import ObjectiveOutlook


KIND_WORDS = {
    "random": "a random configuration",
    "density": "a draw in which every parameter comes from a good trial of its own",
    "crossover": "a crossover of two good trials",
    "mutation": "a mutation: a good trial with a few parameters changed",
    "local": "a local step: one of the best three trials, moved a little",
}
_N_RELEVANT = 3
# So many scores it takes until the first name is that of the parameter that moves them most, in 26
# of 30 studies of three to four parameters; of fewer the choices of a useless one come first.
_RELEVANCE_FROM = 10
# With so many scores a start without experience is over.
_START = 5


def paragraph(of: Explanation) -> str:
    """The sentences; names are shortened and their line breaks removed."""
    return " ".join(_sentences(of))


def _sentences(of: Explanation) -> Iterator[str]:
    if of.origin == "waiting":
        yield f"Trial {of.number} waits in the queue: nothing has been suggested for it yet."
        return
    yield from _origin(of)
    if of.branch is not None:
        yield from _branch(of.branch)
    yield from _expectation(of)
    if of.incumbent is not None:
        same = "(0 is the same, 1 the other end of every range)"
        if of.distance > 1:
            same = f"{same[:-1]}; one of the two lies beyond the range of that time)"
        best = "the best trial then, number"
        if of.n_best == 0:
            best = "the trial that violated least then, number"
        if len(of.objectives) > 1:
            best = f"the nearest of {of.n_best} on the front then, number"
        yield f"It lies {of.distance:.2f} from {best} {of.incumbent} {same}."
    yield from _policy(of)
    for objective in of.objectives if of.n_scored >= _RELEVANCE_FROM else ():
        if objective.relevance:
            of_what = f" of {_name(objective)}" if len(of.objectives) > 1 else ""
            most = _shares(objective.relevance)
            yield f"The agent's memory{of_what} tells configurations apart most by {most}."
    yield from _experience(of)
    yield from _result(of)


def _origin(of: Explanation) -> Iterator[str]:
    running = f" and {of.n_running} running" if of.n_running else ""
    trials = "trial" if of.n_finished + of.n_running == 1 else "trials"
    after = f"after {of.n_finished} finished{running} {trials}"
    if of.origin == "enqueued":
        yield f"Trial {of.number} was enqueued and started {after}."
    elif of.origin == "none":
        yield f"Trial {of.number} started {after} and has asked for no parameter."
    elif of.origin == "unknown":
        yield (
            f"Trial {of.number} started {after}. Nothing is stored about its suggestion: it comes "
            "from another sampler, was added by hand, or its parameters were asked for one by "
            "one, as in the first trial of a study. What follows is recomputed."
        )
    else:
        yield f"Trial {of.number} was suggested by the agent {after}{_kind(of)}."
        if of.enqueued:
            names = ", ".join(map(short_name, of.enqueued))
            yield f"Enqueued, and imposed on the agent: {names}."
    if of.earlier_runs:
        runs = " and ".join(map(str, of.earlier_runs))
        trials = "trial" if len(of.earlier_runs) == 1 else "trials"
        yield f"It is another run of {trials} {runs}, which did not come to an end."
    if of.origin == "none":
        return
    if of.is_start:
        when = "With fewer than five scores"
        if of.n_scored >= _START:
            when = "At the start, which experience that is not heeded makes one trial longer,"
        yield f"{when} the trials are spread out whatever is expected of them."
    if of.is_elsewhere:
        yield (
            "The best score had not risen for long: it was this trial's turn to look far from all "
            "others, whatever is expected there."
        )


def _kind(of: Explanation) -> str:
    """What kind of proposal a suggested trial is, as the end of a sentence."""
    if of.kind in KIND_WORDS:
        return f"; it is {KIND_WORDS[of.kind]}"
    if of.replaced:
        names = ", ".join(map(short_name, of.replaced))
        return (
            f", but the value of {names} lay outside of the trial's own range, and another one "
            "ran. What was said of the suggestion does not hold for it: what follows is recomputed"
        )
    if of.is_recomputed:
        return (
            ", not as a whole: parameters were asked for one by one, or again because their range "
            "had changed. What follows is recomputed"
        )
    return "; it is of a kind that this version does not know"


def _branch(choice: BranchChoice) -> Iterator[str]:
    names = ", ".join(map(short_name, choice.params))
    branch = f"the one with {names}" if names else "the one without conditional parameters"
    had = "no trial" if choice.n_trials == 0 else f"{choice.n_trials} trials"
    had = "1 trial" if choice.n_trials == 1 else had
    best = f", the best of them number {choice.best}" if choice.best is not None else ""
    yield (
        f"It was the turn to choose a branch of the space first, by what tuning it leaves to hope "
        f"for: {branch}, which had {had}{best}."
    )
    if choice.is_due:
        yield "Branches with so few trials are tried before any is compared."
    else:
        place = "first" if choice.rank == 1 else f"number {choice.rank}"
        yield f"By that hope it is {place} of {choice.n_branches} branches."
    if not choice.is_first_choice:
        yield "Chosen again, among candidates proposed afresh, it would be another branch."


def _between(low: float, high: float) -> str:
    if math.isinf(low) and math.isinf(high):
        return "anywhere"
    if math.isinf(low):
        return f"at most {high:.4g}"
    return f"at least {low:.4g}" if math.isinf(high) else f"between {low:.4g} and {high:.4g}"


def _expectation(of: Explanation) -> Iterator[str]:
    several = len(of.objectives) > 1
    is_known = of.origin == "agent" and not of.is_recomputed
    agent = "agent expected" if is_known else "agent would have expected"
    greater = ", where greater is better"
    for objective in of.objectives:
        if math.isnan(objective.mean):
            continue
        low, high = objective.interval
        own_scale = f"{objective.mean:+.2f} ± {objective.std:.2f} on its own scale"
        if math.isnan(objective.expected):
            what = f" of {_name(objective)}" if several else ""
            yield f"No two scores{what} differed yet, so no value could be expected ({own_scale})."
            continue
        yield (
            f"{f'For {_name(objective)} the' if several else 'The'} {agent} "
            f"{objective.expected:.4g}{' or worse' if objective.is_cut else ''}, "
            f"with 80 % {_between(low, high)} "
            f"({own_scale}{greater})."
        )
        greater = ""  # once is enough
    if of.failure > 0:
        yield f"Its chance to fail: {_percent(of.failure)}."
    if of.feasibility < 1:
        yield f"Its chance to satisfy all constraints: {_percent(of.feasibility)}."
    if math.isfinite(of.hypervolume_gain):
        gain = f"{100 * of.hypervolume_gain:.2g} %"
        yield f"It was expected to add {gain} to the hypervolume of the front."


def _experience(of: Explanation) -> Iterator[str]:
    for influences, what in ((of.sources, "earlier studies"), (of.priors, "guesses")):
        heard = {name: share for name, share in influences.items() if share}
        if influences and not heard:
            yield (
                f"The {what} have no influence here: the trial is a control, or the trials before "
                "it speak against them or are enough by themselves."
            )
        elif heard:
            named = [f"{short_name(k)} {x:.2f}" for k, x in list(heard.items())[:_N_RELEVANT]]
            yield (
                f"Of {len(influences)} {what} {len(heard)} have influence, most of all "
                f"{', '.join(named)} (together {sum(heard.values()):.2f})."
            )
        if any(share < 0 for share in heard.values()):
            yield (
                "What is negative foretells the opposite of what this study finds and is read "
                "turned round, with its worst trials for the best: check its direction."
            )


def _policy(of: Explanation) -> Iterator[str]:
    if of.n_candidates < 2:
        return
    place = "first" if of.rank == 1 else f"number {of.rank}"
    inside = " inside of this branch" if of.branch is not None else ""
    yield (
        f"Among {of.n_candidates} candidates proposed afresh{inside} the policy puts it {place}, "
        f"with {_percent(of.share)} of its probability; it is as undecided as between "
        f"{math.exp(of.entropy):.1f} equal ones."
    )


def _result(of: Explanation) -> Iterator[str]:
    if of.trial_state == "FAIL":
        yield "It failed."
    elif of.trial_state == "RUNNING":
        yield "It is running."
    elif of.trial_state == "COMPLETE":
        yield from _values(of)
    elif of.instances is not None:
        yield from _stop(of.instances)
    elif of.trial_state == "PRUNED":
        value = of.objectives[0].value
        yield f"It was pruned{f' at a last report of {value:.4g}' if value is not None else ''}."
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


def _stop(at: InstanceStop) -> Iterator[str]:
    of_all = f" of {at.n_all}" if at.n_all else ""
    instances = "instance" if (at.n_all or at.n_seen) == 1 else "instances"
    seen = f"{at.n_seen}{of_all} {instances}"
    yield f"It was pruned after {seen}, with a mean of {at.mean:.4g} there."
    if math.isfinite(at.expected):
        yield (
            f"Compared with complete trials on the same ones it stands for {at.expected:.4g} "
            "over all."
        )


def _values(of: Explanation) -> Iterator[str]:
    told = [x for x in of.objectives if x.value is not None]
    if len(of.objectives) == 1:
        for objective in told:
            yield f"Its value is {objective.value:.4g}{_compared(objective)}."
        return
    values = "; ".join(f"{_name(x)}: {x.value:.4g}{_compared(x)}" for x in told)
    if values:
        yield f"Its values: {values}."
        yield f"It is {'' if of.is_best else 'not '}on the front today."


def _compared(objective: ObjectiveOutlook) -> str:
    value, expected, (low, high) = objective.value, objective.expected, objective.interval
    if value is None or math.isnan(expected):
        return ""
    if not low <= value <= high:
        return (
            f", {'better' if (value < low) == objective.is_minimized else 'worse'} than expected"
        )
    lowest, highest = objective.told_apart
    if not (value < lowest or value > highest):
        return ", as expected"
    # The interval is open on this side for want of knowledge: that it holds the value says little.
    is_bad = (value > highest) == objective.is_minimized
    if objective.is_cut and is_bad:
        return ", bad, as expected"
    beyond = f"above {highest:.4g}" if value > highest else f"below {lowest:.4g}"
    return f" (values {beyond} counted as equally {'bad' if is_bad else 'good'})"


def _name(objective: ObjectiveOutlook) -> str:
    return short_name(objective.name)


def _shares(relevance: Mapping[str, float]) -> str:
    most = list(relevance.items())[:_N_RELEVANT]
    return ", ".join(f"{short_name(name)} {_percent(share)}" for name, share in most)


def _percent(share: float) -> str:
    if 0 < share < 0.01:
        return "less than 1 %"
    if 0.99 < share < 1:
        return "more than 99 %"
    return f"{100 * share:.0f} %"
