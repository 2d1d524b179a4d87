"""Loaders of public data sets, with fixed splits."""
