"""Benchmarks of samplers; `README.md` in this folder gives the protocol and the commands."""
