"""Rules that several benchmarks share, and the arithmetic below all of them."""


class RuleUndefined(ValueError):
    """A summary that the project's own code refuses to make for these results (asked for with ``upstream=True``)."""
