"""Sweep a Hydra application with Rocket; the search space is in ``hydra_sweep.yaml``.

Needs ``pip install 'hydra-optuna-sweeper>=1.4.0rc3' scikit-learn``: releases up to 1.3 ask for
Optuna 2. Results are in the folder ``sweep``.
"""

from pathlib import Path

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from omegaconf import OmegaConf
from sklearn.datasets import load_wine
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC


ConfigStore.instance().store(
    group="hydra/sweeper/sampler",
    name="rocket",
    node={"_target_": "optuna_rocket.RocketSampler", "seed": 0},
)


# Hydra 1.4 makes nothing out of a configuration that the program has not allowed.
@hydra.main(
    version_base=None,
    config_path=".",
    config_name="hydra_sweep",
    execution_whitelist=["optuna_rocket.RocketSampler"],
)
def evaluate(config: DictConfig) -> float:
    """Return the accuracy of a support vector machine in cross-validation on the wine data."""
    machine = SVC(C=config.C, gamma=config.gamma, kernel=config.kernel)
    model = make_pipeline(StandardScaler(), machine)
    return float(cross_val_score(model, *load_wine(return_X_y=True), cv=3).mean())


if __name__ == "__main__":
    evaluate()
    results = OmegaConf.load(Path("sweep") / "optimization_results.yaml")
    print(results)
    assert results.best_value > 0.9
