from __future__ import annotations

import pytest
import torch

from benchmarks import ablations
from optuna_rocket.agent import improvement
from optuna_rocket.agent.checkpoint import new_network


def test_variants_play_the_same_tasks_and_leave_constants_alone() -> None:
    table = ablations.variants(new_network(), [])
    spread = improvement.SPREAD
    rule, noisy = ablations.measure(table["rule (nothing learned)"], 1, 15)
    narrow, same = ablations.measure(table["rule, spread 1"], 1, 15)
    again, _ = ablations.measure(table["rule (nothing learned)"], 1, 15)
    assert improvement.SPREAD == spread
    assert torch.equal(noisy, same)
    assert torch.equal(again, rule)
    assert not torch.equal(narrow, rule)


def test_a_row_compares_with_the_agent() -> None:
    agent = torch.full((4, 50), 0.5).double()
    better = agent - torch.tensor([0.1, 0.2, 0.1, 0.2])[:, None]
    row = ablations._row("better", better, torch.tensor([True, False, False, True]), agent)
    assert row["regret_50"] == pytest.approx(0.35)
    assert row["minus_agent"] > 0 and row["t"] > 1.65
    assert row["finite_noisy_tasks"] == 2 and row["finite_noisy_regret"] == pytest.approx(0.35)


def test_too_few_trials_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        ablations.main(["--trials", "10"])
    assert "--trials=10" in capsys.readouterr().err
