"""Hand-made cases for the document metrics and the distances under them."""

from __future__ import annotations

import random

import pytest

from vtprune_eval.benchmarks.rules import documents as d
from vtprune_eval.benchmarks.rules.distance import edit_distance, indel_ratio, longest_common_subsequence


def slow_edit(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        new = [i]
        for j, y in enumerate(b):
            new.append(min(row[j] + (x != y), row[j + 1] + 1, new[-1] + 1))
        row = new
    return row[-1]


def slow_lcs(a, b):
    row = [0] * (len(b) + 1)
    for x in a:
        new = [0]
        for j, y in enumerate(b):
            new.append(row[j] + 1 if x == y else max(row[j + 1], new[-1]))
        row = new
    return row[-1]


def test_bit_parallel_distances_equal_the_textbook_ones():
    rng = random.Random(0)
    for _ in range(2000):
        a, b = ("".join(rng.choice("abc ") for _ in range(rng.randint(0, 14))) for _ in range(2))
        assert edit_distance(a, b) == slow_edit(a, b)
        assert longest_common_subsequence(a, b) == slow_lcs(a, b)
    assert indel_ratio("", "") == 1


def test_anls_blanks_around_a_wrong_answer_raise_its_score():
    assert d.anls("abxx", "abcd").value == 0.5
    assert d.anls("abxx      ", "abcd").value == pytest.approx(0.8)
    assert d.anls("abxxx", "abcd").value == 0  # 0.4 is below the threshold
    assert d.anls("b", "['a', 'b']").value == 1


def test_anls_does_not_compare_texts_that_are_far_apart_in_length():
    assert d.anls("a" * 1_000_000, "42 Main Street").value == 0


@pytest.mark.parametrize(
    ("said", "target", "score"),
    [
        ("105.000001", "100", 0),
        ("0.0", "0", 0),
        ("-0", "0", 0),
        ("5%", "0.05", 1),
        ("14%", "14", 0),
        ("2019", "2000", 1),
        (" 14 ", "14", 1),
        ("nan", "14", 0),
        ("nan", "nan", 0),
        ("inf", "14", 0),
        ("%", "14", 0),
        ("1e1", "10", 1),
    ],
)
def test_relaxed_accuracy(said, target, score):
    assert d.relaxed_accuracy(said, target).value == score


def test_ocrbench_formulas_keep_case_and_lose_blanks():
    assert d.ocrbench(r"\frac{a}{b} + C", [r"\frac {a} {b}+C"], d.FORMULAS).value == 1
    assert d.ocrbench(r"\frac{A}{b}", [r"\frac{a}{b}"], d.FORMULAS).value == 0
    assert d.ocrbench("a\nb", "['A B']", "Doc-oriented VQA").value == 1
    verdicts = [d.ocrbench("x", ["x"], "Digit String Recognition")] * 3
    assert d.ocrbench_report(verdicts)["Final Score"] == 3


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("B is what I would say here", "Z"),
        ("I think it is B", "B"),
        ("Cannot determine the answer B", "Z"),
        ("Failed to obtain answer via API root", "B"),
        ("ROOT", "B"),
        ("the root of the flower", "Z"),
        ("", "Z"),
        ("root " * 20, "Z"),
    ],
)
def test_mcq(text, option):
    assert d.mcq(text, {"A": "leaf", "B": "root", "C": "stem", "D": "flower"}, "B").parts["option"] == option


@pytest.mark.parametrize(
    ("said", "true", "kind", "score"),
    [
        ("5.9", "5", "Int", 1),
        ("1e999", "5", "Int", 0),
        ("12.6", "12.5", "Float", 1),
        ("0.125", "12.5", "Float", 1),
        ("1250", "12.5", "Float", 1),
        ("$12.5", "12.5%", "Float", 1),
        ("x", "12.5", "Float", 0),
        ("paris (france)", "Paris", "Str", 1),
        ("'Paris'", "paris", "Str", 1),
        ("pariz", "paris", "Str", 0.8),
        ("page 2", "page 3", "Str", 0),
        ("['b', 'a']", "['a', 'b']", "List", 1),
        ("['a']", "['a', 'b']", "List", 0),
        ("[a]", "['a']", "List", 0),
        ("a", "['a']", "List", 1),
        ("[]", "[]", "List", 0),
        ("x", "x", "None", 1),
    ],
)
def test_mmlongbench(said, true, kind, score):
    assert d.mmlongbench(said, true, kind).value == pytest.approx(score)


def test_mmlongbench_f1_is_undefined_without_right_answers():
    assert d.mmlongbench_f1([]) is None
    assert d.mmlongbench_f1([{"answer": "a", "pred": "b", "score": 0.0}]) is None
    assert d.mmlongbench_f1([{"answer": d.NOT_ANSWERABLE, "pred": "b", "score": 0.0}]) is None
