"""The problems of the blind-spot suite by name. Their constants come from fixed seeds."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
import zlib

import numpy as np

from benchmarks.axes import Axis
from benchmarks.axes import Choice
from benchmarks.axes import Real
from benchmarks.axes import Whole
from benchmarks.blind_problems import BadLuck
from benchmarks.blind_problems import Beyond
from benchmarks.blind_problems import BlindProblem
from benchmarks.blind_problems import Decades
from benchmarks.blind_problems import Failing
from benchmarks.blind_problems import HeavyTails
from benchmarks.blind_problems import Heteroscedastic
from benchmarks.blind_problems import Plateau
from benchmarks.blind_problems import Pruned
from benchmarks.landscapes import Landscape
from benchmarks.trees import Branch
from benchmarks.trees import Tree


Build = Callable[[str, np.random.Generator], BlindProblem]

# Spaces as they are in practice: rates on log scales, sizes as integers, a choice or two.
_NETWORK: tuple[Axis, ...] = (
    Real("lr", 1e-5, 1e-1, log=True),
    Real("weight_decay", 1e-6, 1e-1, log=True),
    Whole("width", 16, 1024, log=True),
    Whole("layers", 1, 8),
    Choice("optimizer", ("sgd", "adam", "rmsprop")),
)
_SCHEDULE: tuple[Axis, ...] = (
    Real("lr", 1e-5, 1e-1, log=True),
    Real("momentum"),
    Real("warmup"),
    Real("decay", 1e-6, 1e-1, log=True),
)
_DEEP: tuple[Axis, ...] = (*_NETWORK, Real("dropout", 0.0, 0.8))


def _reals(n: int) -> tuple[Axis, ...]:
    return tuple(Real(f"x{i}") for i in range(n))


def _many_mixed(n: int) -> tuple[Axis, ...]:
    kinds: tuple[Callable[[str], Axis], ...] = (
        Real,
        lambda name: Real(name, 1e-4, 1.0, log=True),
        lambda name: Whole(name, 1, 20),
        lambda name: Choice(name, ("a", "b", "c")),
    )
    return tuple(kinds[i % len(kinds)](f"x{i}") for i in range(n))


def _unordered(name: str, n: int) -> Choice:
    return Choice(name, tuple(f"{name}_{i}" for i in range(n)))


def _plain(axes: tuple[Axis, ...], bend: str) -> Build:
    return lambda name, rng: BlindProblem(name, Landscape(axes, rng, bend))


def _unimportant(axes: tuple[Axis, ...], n_matter: int, bend: str) -> Build:
    def build(name: str, rng: np.random.Generator) -> BlindProblem:
        matters = [axes[i].name for i in rng.choice(len(axes), n_matter, replace=False)]
        return BlindProblem(name, Landscape(axes, rng, bend, matters))

    return build


def _failing(
    axes: tuple[Axis, ...], bend: str, share: float, distance: tuple[float, float]
) -> Build:
    def build(name: str, rng: np.random.Generator) -> BlindProblem:
        landscape = Landscape(axes, rng, bend)
        return Failing(name, landscape, Beyond(landscape, share, distance, rng))

    return build


def _decades(axes: tuple[Axis, ...], bend: str) -> Build:
    return lambda name, rng: Decades(name, Landscape(axes, rng, bend), noise=0.02)


def _chance(axes: tuple[Axis, ...], bend: str) -> Build:
    return lambda name, rng: BadLuck(name, Landscape(axes, rng, bend))


def _heavy_tails(axes: tuple[Axis, ...], bend: str, share: float) -> Build:
    def build(name: str, rng: np.random.Generator) -> BlindProblem:
        landscape = Landscape(axes, rng, bend)
        return HeavyTails(name, landscape, Beyond(landscape, share, (0.05, 0.4), rng))

    return build


def _pruned(axes: tuple[Axis, ...], bend: str, n_epochs: int) -> Build:
    return lambda name, rng: Pruned(name, Landscape(axes, rng, bend), n_epochs, rng)


def _plateau(axes: tuple[Axis, ...], bend: str, share: float) -> Build:
    return lambda name, rng: Plateau(name, Landscape(axes, rng, bend), share)


def _heteroscedastic(axes: tuple[Axis, ...], bend: str) -> Build:
    return lambda name, rng: Heteroscedastic(name, Landscape(axes, rng, bend), rng)


def _conditional(root: Branch) -> Build:
    return lambda name, rng: BlindProblem(name, Tree(root, rng))


def _optimizers(model: str) -> dict[str, Branch]:
    # The optimiser's parameters belong to the model too: a rate for one is no rate for the other.
    return {
        "sgd": Branch(
            (
                Real(f"{model}_sgd_lr", 1e-4, 1.0, log=True),
                Real(f"{model}_sgd_momentum", 0.0, 0.99),
            )
        ),
        "adam": Branch((Real(f"{model}_adam_lr", 1e-5, 1e-1, log=True),)),
    }


_SMALL_TREE = Branch(
    switch="model",
    children={
        "mlp": Branch((Whole("mlp_width", 8, 512, log=True),), "mlp_opt", _optimizers("mlp")),
        "cnn": Branch((Whole("cnn_filters", 4, 128, log=True),), "cnn_opt", _optimizers("cnn")),
    },
)
_LARGE_TREE = Branch(
    (Real("subsample", 0.2, 1.0),),
    "model",
    {
        "mlp": Branch(
            (Whole("mlp_width", 8, 512, log=True), Real("mlp_dropout", 0.0, 0.8)),
            "mlp_opt",
            _optimizers("mlp"),
        ),
        "boosting": Branch(
            (Whole("rounds", 10, 1000, log=True), Whole("depth", 1, 12)),
            "booster",
            {
                "tree": Branch((Real("shrinkage", 1e-3, 1.0, log=True),)),
                "dart": Branch((Real("rate_drop", 0.0, 0.5), Real("skip_drop", 0.0, 0.5))),
            },
        ),
        "svm": Branch(
            (Real("c", 1e-3, 1e3, log=True),),
            "kernel",
            {
                "linear": Branch(),
                "rbf": Branch((Real("gamma", 1e-4, 1e1, log=True),)),
            },
        ),
    },
)

# A choice of models as it is made every day; two of them have few configurations.
_MODELS = Branch(
    switch="model",
    children={
        "bayes": Branch((Whole("bayes_variant", 1, 3),)),
        "neighbours": Branch((Whole("neighbours", 1, 5),)),
        "kernel": Branch((Real("c", 1e-3, 1e3, log=True), Real("gamma", 1e-4, 1e1, log=True))),
        "trees": Branch(
            (Real("shrinkage", 1e-3, 1.0, log=True), Whole("depth", 2, 12), Real("rows", 0.2, 1.0))
        ),
    },
)

_FAR, _BESIDE, _NEAR = (0.1, 0.5), (0.01, 0.05), (0.005, 0.3)
_BUILDS: dict[str, Build] = {
    "failing/20": _failing(_reals(3), "square", 0.2, _FAR),
    "failing/40": _failing(_NETWORK, "log", 0.4, _FAR),
    "failing/60_beside": _failing(_SCHEDULE, "root", 0.6, _BESIDE),
    "pruned/4": _pruned(_SCHEDULE, "square", 20),
    "pruned/6": _pruned(_DEEP, "root", 30),
    "conditional/small": _conditional(_SMALL_TREE),
    "conditional/large": _conditional(_LARGE_TREE),
    "unimportant/2_of_15": _unimportant(_reals(15), 2, "root"),
    "unimportant/3_of_30": _unimportant(_many_mixed(30), 3, "root"),
    "plateau/60": _plateau(_reals(3), "root", 0.6),
    "plateau/70": _plateau(_NETWORK, "square", 0.7),
    "plateau/80": _plateau(_SCHEDULE, "root", 0.8),
    "heavy_tails/25": _heavy_tails(_SCHEDULE, "log", 0.25),
    "heavy_tails/40": _heavy_tails(_DEEP, "root", 0.4),
    "many_choices/20": _plain((_unordered("kind", 20), *_reals(2)), "square"),
    "many_choices/50": _plain((_unordered("kind", 50), *_reals(2)), "root"),
    "many_choices/20_and_50": _plain(
        (_unordered("kind", 20), _unordered("part", 50), *_reals(2)), "square"
    ),
    "heteroscedastic/2": _heteroscedastic(_reals(2), "square"),
    "heteroscedastic/5": _heteroscedastic(_reals(5), "root"),
}
BLIND_PROBLEM_NAMES = tuple(_BUILDS)
# Made after a defect had been found, as it would show elsewhere.
_FOUND: dict[str, Build] = {
    "found/rare_3": _failing(_reals(3), "square", 0.9, _NEAR),
    "found/rare_network": _failing(_NETWORK, "log", 0.9, _NEAR),
    "found/decades_3": _decades(_reals(3), "square"),
    "found/decades_5": _decades(_reals(5), "square"),
    "found/decades_network": _decades(_NETWORK, "root"),
    "found/chance_3": _chance(_reals(3), "square"),
    "found/chance_network": _chance(_NETWORK, "root"),
    "found/chance_schedule": _chance(_SCHEDULE, "root"),
    "found/models": _conditional(_MODELS),
    "found/models_again": _conditional(_MODELS),
}
FOUND_PROBLEM_NAMES = tuple(_FOUND)


@cache
def load_blind_problem(name: str) -> BlindProblem:
    """Build a problem of the suite; a second call returns the same object.

    Args:
        name: One of `BLIND_PROBLEM_NAMES` or `FOUND_PROBLEM_NAMES`.
    """
    builds = _BUILDS | _FOUND
    if name not in builds:
        raise ValueError(f"Unknown problem {name!r}. Choose from {', '.join(builds)}.")
    return builds[name](name, np.random.default_rng(zlib.crc32(name.encode())))
