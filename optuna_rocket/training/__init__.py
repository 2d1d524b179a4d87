"""Meta-training of the agent by self-play on synthetic tasks. Users never import this."""
