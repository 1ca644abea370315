"""Benchmarks: how their data are read, how an answer is scored, what is reported and drawn."""
