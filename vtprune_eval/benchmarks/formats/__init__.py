"""On-disk formats that several benchmarks share."""
