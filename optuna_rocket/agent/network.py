"""The recurrent network: a GRU over trial tokens, and a scorer of candidates.

No word of Optuna here. ``recurrent_state`` ``(B, h)`` goes in and comes out explicitly.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch import nn

from optuna_rocket.features import N_TOKEN_FEATURES


HIDDEN = 32
_CONTEXT = 32
_SCORER = 32
# Initial exponent on the expected improvement: at 1 the sampled policy hardly exploits.
_SHARPNESS = 8.0


class RecurrentScorer(nn.Module):
    """Scores candidates from their features, the recurrent state and study-wide features.

    The logit of a candidate is its score under the improvement rule, times a learned sharpness,
    plus a learned residual. The residual starts at zero, where the greedy policy is the rule
    itself: what training adds is measured against exactly that. During the start of a study (its
    last study-wide feature is 0) the rule, which has a design of its own there, decides alone.

    Args:
        n_candidate_features: Width of the candidate features.
        n_study_features: Width of the study-wide features.
    """

    def __init__(self, n_candidate_features: int, n_study_features: int) -> None:
        super().__init__()
        self.recurrence = nn.GRU(N_TOKEN_FEATURES, HIDDEN, batch_first=True)
        self.context = nn.Linear(HIDDEN + n_study_features, _CONTEXT)
        self.from_candidate = nn.Linear(n_candidate_features, _SCORER)
        self.from_context = nn.Linear(_CONTEXT, _SCORER, bias=False)
        self.middle = nn.Linear(_SCORER, _SCORER)
        self.residual = nn.Linear(_SCORER, 1)
        self.sharpness = nn.Linear(_CONTEXT, 1)
        for layer in (self.residual, self.sharpness):
            if not layer.weight.is_meta:
                nn.init.zeros_(layer.weight)
                nn.init.zeros_(layer.bias)
        if not self.sharpness.bias.is_meta:
            nn.init.constant_(self.sharpness.bias, math.log(_SHARPNESS))

    def encode(self, tokens: Tensor, recurrent_state: Tensor) -> Tensor:
        """The recurrent state ``(B, h)`` after ``tokens`` ``(B, k, f)``; k may be 0."""
        if tokens.shape[1] == 0:
            return recurrent_state
        _, last = self.recurrence(tokens, recurrent_state[None].contiguous())
        return torch.as_tensor(last[0])

    def forward(
        self, rule: Tensor, candidates: Tensor, study: Tensor, recurrent_state: Tensor
    ) -> Tensor:
        """Logits ``(B, m)``.

        Args:
            rule: ``(B, m)`` score under the improvement rule.
            candidates: ``(B, m, n_candidate_features)``.
            study: ``(B, n_study_features)``, the last of which is 1 once the start is over.
            recurrent_state: ``(B, h)``.
        """
        context = torch.tanh(self.context(torch.cat([recurrent_state, study], -1)))
        hidden = self.from_candidate(candidates) + self.from_context(context)[:, None]
        hidden = torch.relu(self.middle(torch.relu(hidden)))
        started = study[:, -1:]
        residual = started * self.residual(hidden)[..., 0]
        return torch.as_tensor(self.sharpness(context).exp() * rule + residual)
