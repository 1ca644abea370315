"""Figures for papers: accuracy against a cost, and stage times. Needs the extra ``plots``."""
