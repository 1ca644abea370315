"""Where the project's own models lie, and what is said when one is not there."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace

import pytest

from vtprune_eval.benchmarks.data_folders import packaged_data
from vtprune_eval.benchmarks.definitions import definition
from vtprune_eval.errors import UserError
from vtprune_eval.models import MODELS, embedded, load_model
from vtprune_eval.models.cards import image_rules
from vtprune_eval.models.embedded import EMBEDDED, embedded_folder
from vtprune_eval.profiling.plan import model_dims, n_layers_of


def test_every_embedded_model_has_a_card_and_no_hub_repository():
    assert set(EMBEDDED) == {name for name, card in MODELS.items() if card.hub_id is None and card.family != "stub"}


@pytest.mark.parametrize("name", EMBEDDED)
def test_sizes_are_known_without_weights(name):
    dims, (least, most) = model_dims(name)
    assert n_layers_of(name) == dims.layers
    rules = image_rules(name)
    assert (rules.min_pixels, rules.max_pixels) == (least, most)


def installed(monkeypatch, package) -> None:
    """What the interpreter finds under the packages' names; every other module is found as usual."""
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: package if "vtprune_eval_" in name else find(name, *rest)
    )


def test_an_absent_package_is_one_sentence_with_the_remedy(monkeypatch, tmp_path):
    monkeypatch.setattr(embedded, "__file__", str(tmp_path / "embedded.py"))
    installed(monkeypatch, None)
    with pytest.raises(UserError, match=r"pip install \./packages/micro.*--model-path\.$"):
        load_model("micro")


def test_a_folder_is_loaded_where_no_weights_of_that_name_are_installed(monkeypatch, tmp_path):
    folder = embedded_folder("nano")
    monkeypatch.setattr(embedded, "__file__", str(tmp_path / "embedded.py"))
    installed(monkeypatch, None)
    adapter = load_model("micro", path=str(folder))
    assert adapter.identity["foreign"] and "micro" in adapter.identity["note"]


def test_an_installed_package_is_found(monkeypatch, tmp_path):
    (tmp_path / "vtprune_eval_micro" / "model").mkdir(parents=True)
    (tmp_path / "vtprune_eval_micro" / "model" / "model.safetensors").touch()
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path / "vtprune_eval_micro")])
    monkeypatch.setattr(embedded, "__file__", str(tmp_path / "embedded.py"))
    installed(monkeypatch, package)
    assert embedded_folder("micro", with_weights=True) == tmp_path / "vtprune_eval_micro" / "model"
    assert (
        packaged_data(definition("mini-large-doc"))
        == tmp_path / "vtprune_eval_micro" / "tasks" / "mini-large-doc" / "data"
    )
    assert packaged_data(definition("mini-doc")) is None
