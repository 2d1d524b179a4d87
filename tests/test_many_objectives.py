"""The benchmark of several objectives and constraints."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import optuna
import pytest

from benchmarks import goals_speed
from benchmarks import many_objectives
from benchmarks.front_twins import FRONT_TWINS
from benchmarks.goal_problems import GOAL_PROBLEMS
from benchmarks.goal_problems import MANY_PROBLEMS
from benchmarks.goal_problems import load_goal_problem
from benchmarks.goal_twins import TWINS
from benchmarks.hypervolume import hypervolume
from benchmarks.hypervolume import non_dominated
from benchmarks.hypervolume import swept
from benchmarks.rare_problems import RARE_PROBLEMS
from benchmarks.records import read_goal_replications
from benchmarks.walking_fish import WFG
from benchmarks.walking_fish import scales


def test_hypervolume_of_boxes() -> None:
    two = np.array([[0.0, 0.5], [0.5, 0.0], [0.6, 0.6], [2.0, -1.0]])
    assert hypervolume(two, np.array([1.0, 1.0])) == pytest.approx(0.75)
    assert hypervolume(np.array([[3.0], [1.0]]), np.array([2.0])) == 1.0
    assert hypervolume(np.array([[0.5, 0.5, 0.5]]), np.ones(3)) == pytest.approx(0.125)


def test_hypervolume_in_three_dimensions_is_that_of_sampling() -> None:
    generator = np.random.default_rng(0)
    points, probes = generator.random((12, 3)), generator.random((100_000, 3))
    inside = (points[:, None] <= probes[None]).all(-1).any(0).mean()
    assert hypervolume(points, np.ones(3)) == pytest.approx(inside, abs=0.006)


@pytest.mark.parametrize("m", [2, 3])
def test_the_volume_along_rays_is_the_exact_one(m: int) -> None:
    points, reference = np.random.default_rng(m).random((20, m)), np.ones(m)
    few, width = points[:4], np.full(m, 0.7)
    share = swept(few, reference, width) / swept(points, reference, width)
    exact = hypervolume(few, reference) / hypervolume(points, reference)
    assert share == pytest.approx(exact, abs=0.02)
    assert swept(points + 1, reference, width) == 0


@pytest.mark.parametrize("m", [1, 2, 3])
def test_non_dominated_points(m: int) -> None:
    points = np.random.default_rng(m).random((40, m))
    better = (points[None] <= points[:, None]).all(-1) & (points[None] < points[:, None]).any(-1)
    assert (non_dominated(points) == ~np.any(better, axis=1)).all()


@pytest.mark.parametrize("name", GOAL_PROBLEMS)
def test_no_random_trial_is_beyond_the_front(name: str) -> None:
    problem = load_goal_problem(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    # One in 200 is feasible in C3-DTLZ4.
    drawn = [problem.evaluate(study.ask()) for _ in range(3000 if "c3" in name else 300)]
    points = np.array([values for values, limits in drawn if all(x <= 0 for x in limits)])
    assert problem.share(problem.front) == pytest.approx(1)
    together = problem.share(np.concatenate([problem.front, points]))
    assert 0 < problem.share(points) < 1 and together < 1.005  # the front is a fine grid


@pytest.mark.parametrize("name", MANY_PROBLEMS)
def test_fronts_of_many_objectives_are_spheres_that_no_trial_is_within(name: str) -> None:
    problem = load_goal_problem(name)
    size = scales(problem.n_objectives) if "wfg" in name else 1.0
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=5))
    values = np.array([problem.evaluate(study.ask())[0] for _ in range(200)]) / size
    assert np.linalg.norm(problem.front / size, axis=1) == pytest.approx(1)
    assert (np.linalg.norm(values, axis=1) > 1).all() and len(problem.reference) in (4, 5)


def test_front_of_the_sphere_has_the_known_hypervolume() -> None:
    problem = load_goal_problem("front/dtlz2_2")
    assert problem.reference == pytest.approx([1.1, 1.1])
    exact = 1.1**2 - math.pi / 4
    assert hypervolume(problem.front, problem.reference) == pytest.approx(exact, rel=0.001)


@pytest.mark.parametrize("name", WFG)
@pytest.mark.parametrize(("k", "m"), [(2, 2), (4, 3)])
def test_wfg_ends_at_its_front(name: str, k: int, m: int) -> None:
    generator = np.random.default_rng(0)
    best, other = generator.random((2, 300, k + 4))
    best[:, k:] = 0.35  # where nothing is lost
    if name == "wfg4":
        best[:, :k] = 0.35 + 0.65 * (best[:, :k] > 0.5)
    ends = np.array([WFG[name](y, k, m) for y in best]) / scales(m)
    points = np.array([WFG[name](y, k, m) for y in other]) / scales(m)
    if name != "wfg2":  # the fronts of the others are spheres
        assert np.square(ends).sum(1) == pytest.approx(1)
        assert (np.square(points).sum(1) > 1).all()
    assert not np.all(points[:, None] < ends[None] - 1e-9, axis=(1, 2)).any()
    assert (points >= 0).all() and points.max() < 2


@pytest.mark.parametrize("name", TWINS)
def test_development_problems_have_the_best_value_that_is_said(name: str) -> None:
    problem = load_goal_problem(name)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    drawn = [problem.evaluate(study.ask()) for _ in range(500)]
    feasible = [values[0] for values, limits in drawn if max(limits) <= 0]
    assert 0 < len(feasible) < 500 and min(feasible) > problem.front[0, 0] > 0


@pytest.mark.parametrize("name", FRONT_TWINS)
def test_no_point_of_a_development_problem_is_beyond_its_front(name: str) -> None:
    evaluate, front = FRONT_TWINS[name]
    best = front()
    study, n_feasible = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)), 0
    for _ in range(1000):
        values, limits = evaluate(study.ask())
        if all(limit <= 0 for limit in limits):
            n_feasible += 1
            # The front is of points that lie some way apart.
            margin = 0.05 * best.max(axis=0)
            assert not (values < best[::16] - margin).all(axis=1).any()
    assert n_feasible > 0


@pytest.mark.parametrize("name", RARE_PROBLEMS)
def test_a_feasible_trial_of_a_rare_problem_shows_in_the_curve(name: str) -> None:
    problem, generator = load_goal_problem(name), np.random.default_rng(0)
    assert problem.share(problem.front) == pytest.approx(1)
    middles = {"rare/balls8": [0.75] * 4 + [0.3] * 4, "rare/equalities": [0.31, 0.787, 0.358]}
    middle = np.array([*middles.get(name, [0.75] * 10), 0.413, 0.89])
    reached = []
    for width in np.linspace(0, 0.1, 200):
        x = middle + width * generator.uniform(-1, 1, len(middle))
        trial = optuna.trial.FixedTrial({f"x{i}": float(xi) for i, xi in enumerate(x)})
        values, limits = problem.evaluate(trial)  # type: ignore[arg-type]
        if max(limits) <= 0:
            reached.append(problem.share(values[None]))
    assert len(reached) > 1 and 0 < min(reached) and max(reached) < 1.0001
    objective = many_objectives.Objective(problem, 0)
    study = optuna.create_study(directions=["minimize"] * problem.n_objectives)
    study.sampler = optuna.samplers.RandomSampler(seed=0)
    for k in range(4):  # at random, where nothing is feasible, and in the middle at last
        if k == 3:
            study.enqueue_trial({f"x{i}": float(xi) for i, xi in enumerate(middle)})
        study.optimize(objective, n_trials=1)
    curve = objective.curve(4)
    assert curve[:3] == [1.0] * 3 and 0 <= (curve[3] or 0) < 1


def test_time_is_measured_in_a_study_with_as_many_objectives_and_constraints() -> None:
    goals = goals_speed.Distances(3, 2)
    sampler = many_objectives.make_goal_sampler("nsga2", 0)
    study = goals_speed.filled_study(sampler, goals, 12, own=True)
    times = goals_speed.trial_times(study, goals, 4)
    assert len(times) == 4 and min(times) >= 0 and len(study.trials) == 18
    assert all(len(trial.values) == 3 and len(trial.constraints) == 2 for trial in study.trials)
    states = [all(limit <= 0 for limit in trial.constraints.values()) for trial in study.trials]
    assert 0 < sum(states) < 18


def test_unknown_problem_is_named() -> None:
    with pytest.raises(ValueError, match="'front/zdt9'"):
        load_goal_problem("front/zdt9")


def test_multivariate_tpe_is_another_method_than_the_default() -> None:
    problem = load_goal_problem("front/zdt1")
    curves = [
        many_objectives.measure(problem, name, many_objectives._OWN[name](0), 0, 16).regret
        for name in ("tpe_multivariate", "tpe_univariate")
    ]
    assert curves[0] != curves[1]


def test_measured_curves_fall_and_can_be_resumed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "raw.jsonl"
    command = ["--methods", "random", "--problems", "constrained/srn", "--trials", "30"]
    command += ["--out", str(out)]
    many_objectives.main([*command, "--seeds", "1"])
    many_objectives.main([*command, "--seeds", "2"])
    assert "1 replications run, 1 were there already" in capsys.readouterr().out
    for found in read_goal_replications(out):
        curve = [x for x in found.regret if x is not None]
        assert len(curve) == 30 and curve == sorted(curve, reverse=True) and curve[-1] < curve[0]
        assert 0 < found.feasible_share < 1 and found.n_objectives == 2 and found.error == 0
