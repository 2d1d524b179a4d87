"""Deep-learning tasks on public data: loaders, models, training."""
