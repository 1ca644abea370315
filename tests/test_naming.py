"""Names that carry settings can be written, read and split again, whatever stands in a value."""

from __future__ import annotations

import pytest

from vtprune_eval.errors import UserError
from vtprune_eval.naming import bare, named, parts_of, settings_in, split_outside, split_values, typed, typed_settings

AWKWARD = ["1,2", "a]b", "[", "\\", "a\\,b", "1e+5", "x=y", "", "tau"]


@pytest.mark.parametrize("value", AWKWARD)
def test_any_value_survives(value):
    name = named("one", {"at": value, "b": 2.0}) + "+two"
    assert parts_of(name) == [name.removesuffix("+two"), "two"]
    assert settings_in(parts_of(name)[0]) == {"at": value, "b": "2"}
    assert bare(name) == "one+two"
    assert split_outside(f"{name},three", ",") == [name, "three"]


@pytest.mark.parametrize("value", AWKWARD)
def test_a_typed_value_is_read_as_one(value):
    assert split_values(typed(value)) == [value]
    assert split_values(typed([value, 0.5, True])) == [value, "0.5", "true"]


def test_commas_sweep_unless_a_backslash_stands_before():
    assert split_values("1, 2,4") == ["1", "2", "4"]
    assert split_values(r"1\,2,4") == ["1,2", "4"]


@pytest.mark.parametrize("name", ["x[", "x[]", "[a=1]", "x[a]", "x[a=1,a=2]", "x[a=1]b", "x[a=[1]]", r"x[a=1\]"])
def test_what_is_no_name_is_one_sentence(name):
    with pytest.raises(UserError, match="settings of a method stand behind its name"):
        settings_in(name)


def test_settings_of_the_command_line():
    given = typed_settings(["pixelprune.tau=0,0.02", "focusui.scorer = a=b", r"mine.layers=2\,8"])
    assert given == {"pixelprune.tau": ["0", "0.02"], "focusui.scorer": "a=b", "mine.layers": "2,8"}
    for wrong, says in (
        (["tau"], "write KEY=VALUE"),
        (["=1"], "write KEY=VALUE"),
        (["a=1", "a = 2"], "a is given twice"),
    ):
        with pytest.raises(UserError, match=says):
            typed_settings(wrong)
