"""Early approximated rewards: nested subsets of the data, and forecasts from partial results."""
