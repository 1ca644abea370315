"""Helpers of the metric checkers (a folder of their own: every module beside the checkers is taken for a checker)."""
