"""Distances between texts, exact, with bit-parallel recurrences: one step per character of the longer text."""

from __future__ import annotations


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance (insert, delete, replace cost 1).

    Myers, "A fast bit-vector algorithm for approximate string matching based on dynamic programming" (1999), with the
    horizontal difference of the top row fixed to +1 (Hyyrö 2001), one big integer per column.
    """
    if len(a) > len(b):
        a, b = b, a
    if not a:
        return len(b)
    where: dict[str, int] = {}
    for i, c in enumerate(a):
        where[c] = where.get(c, 0) | 1 << i
    full, top = (1 << len(a)) - 1, 1 << (len(a) - 1)
    up, down, distance = full, 0, len(a)
    for c in b:
        same = where.get(c, 0)
        vertical = same | down
        diagonal = (((same & up) + up) ^ up) | same
        plus = down | ~(diagonal | up) & full
        minus = up & diagonal
        distance += 1 if plus & top else -1 if minus & top else 0
        plus = (plus << 1 | 1) & full
        minus = (minus << 1) & full
        up = minus | ~(vertical | plus) & full
        down = plus & vertical
    return distance


def longest_common_subsequence(a: str, b: str) -> int:
    """Length of the longest common subsequence (Hyyrö 2004)."""
    if len(a) > len(b):
        a, b = b, a
    where: dict[str, int] = {}
    for i, c in enumerate(a):
        where[c] = where.get(c, 0) | 1 << i
    full = (1 << len(a)) - 1
    row = full
    for c in b:
        hit = row & where.get(c, 0)
        row = (row + hit | row - hit) & full
    return len(a) - row.bit_count()


def indel_ratio(a: str, b: str) -> float:
    """2 * common subsequence / sum of lengths; 1 for two empty texts (the ``ratio`` of the Levenshtein package)."""
    total = len(a) + len(b)
    return 2 * longest_common_subsequence(a, b) / total if total else 1.0


def token_f1(predicted: set[str], true: set[str]) -> float:
    """F1 of two token sets: 1 for two empty sets, 0 if exactly one is empty."""
    if not predicted or not true:
        return float(predicted == true)
    common = len(predicted & true)
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(true)
    return 2 * precision * recall / (precision + recall)
