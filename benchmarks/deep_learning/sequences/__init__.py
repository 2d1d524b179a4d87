"""Labelling and modelling of sequences: words, characters and strings of digits."""
