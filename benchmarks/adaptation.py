"""Does the agent gain from updating its weights inside a study?

``python -m benchmarks.adaptation --help``. The paper's agent refines its strategy with every
result. Ours adapts through its recurrent state and its memory; here the weights adapt too: after
every few trials, a step of group policy optimisation on the study's own decisions, whose group is
the study itself (the advantage of a trial is the rank of its score among the trials before it).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
import copy
import json
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from tqdm import tqdm  # type: ignore[import-untyped]

from benchmarks.report import markdown_rows
from benchmarks.variants import Variant
from benchmarks.variants import compared
from optuna_rocket.agent import checkpoint
from optuna_rocket.agent import observation
from optuna_rocket.agent import policy
from optuna_rocket.agent import update
from optuna_rocket.agent import weights_file
from optuna_rocket.agent.checkpoint import new_network
from optuna_rocket.agent.network import RecurrentScorer
from optuna_rocket.agent.policy import Decision
from optuna_rocket.training.rollout import PLAY_SHARPNESS
from optuna_rocket.training.rollout import greedy_player
from optuna_rocket.training.settings import TEST_SEED
from optuna_rocket.training.tasks import sample_tasks


_CHECKPOINTS = (10, 25, 50)
_RATES = (3e-4, 1e-3, 3e-3)
_PER_BATCH = 6
_EVERY = 5
_CLIP = 0.2
# The column of a token that holds half of the normal score of the trial's rank.
_RANK_COLUMN = 3


class _Choice(NamedTuple):
    """One decision of a study: what the network saw, what it chose, how likely that was."""

    inputs: tuple[Tensor, ...]
    allowed: Tensor
    action: int
    log_prob: Tensor


class StudyLearner:
    """The weights of one study, which learn from its results.

    Args:
        network: Where the weights start.
        rate: Learning rate of Adam.
    """

    def __init__(self, network: RecurrentScorer, rate: float) -> None:
        self.network = copy.deepcopy(network).requires_grad_(True)
        self._optimizer = torch.optim.Adam(self.network.parameters(), lr=rate)
        self._choices: list[_Choice] = []
        self._ranks: list[float] = []

    def chose(self, inputs: tuple[Tensor, ...], logits: Tensor, action: int) -> None:
        """Remember a decision: inputs and logits ``(1, m)`` of one study."""
        log_pi = (logits * PLAY_SHARPNESS).log_softmax(-1)
        choice = _Choice(inputs, torch.isfinite(logits), action, log_pi[0, action])
        self._choices.append(choice)

    def read(self, ranks: Sequence[float]) -> None:
        """Take note of results, in order of trials; learn after every few of them."""
        for rank in ranks:
            self._ranks.append(rank)
            if len(self._ranks) % _EVERY == 0:
                self._learn()

    def _learn(self) -> None:
        pairs = list(zip(self._choices, self._ranks, strict=False))
        mean = sum(self._ranks) / len(self._ranks)
        losses = []
        with torch.enable_grad():
            for choice, rank in pairs:
                logits = self.network(*choice.inputs).masked_fill(~choice.allowed, -torch.inf)
                log_prob = (logits * PLAY_SHARPNESS).log_softmax(-1)[0, choice.action]
                advantage = torch.tensor(rank - mean)
                losses.append(update.clipped_loss(log_prob, choice.log_prob, advantage, _CLIP))
            update.apply_gradient(torch.stack(losses).mean(), self.network, self._optimizer)


class AdaptingScorer(RecurrentScorer):
    """A batch of studies, each with a learner of its own, where one network is expected."""

    def __init__(self, network: RecurrentScorer, rate: float, batch: int) -> None:
        super().__init__(len(observation.CANDIDATE_FEATURES), len(observation.STUDY_FEATURES))
        self._learners = [StudyLearner(network, rate) for _ in range(batch)]
        self._seen: list[tuple[Tensor, ...]] = []

    def encode(self, tokens: Tensor, recurrent_state: Tensor) -> Tensor:
        """As the network's; what is read is learned from."""
        states = []
        for row, learner in enumerate(self._learners):
            learner.read((2 * tokens[row, :, _RANK_COLUMN]).tolist())
            one = slice(row, row + 1)
            states.append(learner.network.encode(tokens[one], recurrent_state[one]))
        return torch.cat(states)

    def forward(
        self, rule: Tensor, candidates: Tensor, study: Tensor, recurrent_state: Tensor
    ) -> Tensor:
        """As the network's."""
        inputs = (rule, candidates, study, recurrent_state)
        rows = range(len(self._learners))
        self._seen = [tuple(x[row : row + 1].clone() for x in inputs) for row in rows]
        networks = [learner.network for learner in self._learners]
        return torch.cat([net(*seen) for net, seen in zip(networks, self._seen, strict=True)])

    def player(self, decision: Decision, generator: torch.Generator) -> Tensor:
        """Greedy, as in use; the learners remember the decision."""
        action = policy.act(decision.logits)
        for row, learner in enumerate(self._learners):
            logits = decision.logits[row : row + 1]
            learner.chose(self._seen[row], logits, int(action[row]))
        return action


def measure(network: RecurrentScorer, rate: float, n_tasks: int, n_trials: int) -> Tensor:
    """Normalised regret ``(n_tasks, n_trials)``; with rate 0 the weights stay."""
    regrets = []
    for batch in range(n_tasks // _PER_BATCH):
        seed = TEST_SEED + 10**6 + batch
        tasks = sample_tasks(_PER_BATCH, torch.Generator().manual_seed(seed))
        variant = Variant(network, greedy_player)
        if rate > 0:
            adapting = AdaptingScorer(network, rate, len(tasks))
            variant = Variant(adapting, adapting.player)
        regrets.append(variant.regret(tasks, seed, n_trials))
    return torch.cat(regrets)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all rates, from the shipped weights and from untrained ones."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adaptation", description=__doc__)
    parser.add_argument("--tasks", type=int, default=42, help="a multiple of 6")
    parser.add_argument("--trials", type=int, default=50)
    parser.add_argument("--checkpoint", default=str(weights_file.SHIPPED))
    parser.add_argument("--out", default="benchmarks/results/adaptation.json")
    options = parser.parse_args(arguments)
    if options.tasks % _PER_BATCH or options.trials < _CHECKPOINTS[-1]:
        parser.error(f"--tasks is a multiple of {_PER_BATCH}, --trials at least 50")
    torch.set_num_threads(1)
    rows = []
    networks = {"agent": checkpoint.load(options.checkpoint), "rule": new_network()}
    for name, network in networks.items():
        still = measure(network, 0.0, options.tasks, options.trials)
        rows.append({"variant": name, **compared(still, still, _CHECKPOINTS)})
        for rate in tqdm(_RATES):
            adapted = measure(network, rate, options.tasks, options.trials)
            row = {"variant": f"{name}, adapting at {rate:g}"}
            rows.append(row | compared(adapted, still, _CHECKPOINTS))
    Path(options.out).write_text(json.dumps(rows, indent=1) + "\n")
    print(markdown_rows(rows))


if __name__ == "__main__":
    main()
