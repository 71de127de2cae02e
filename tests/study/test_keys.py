"""Keys change with the settings and with the numbers of the algorithms, and with nothing else."""

import pytest

import kdtool
from kdtool.recipe.load import make_recipe
from kdtool.recipe.schema import ExplainTable, ProfileTable
from kdtool.recipe.training import PhaseTable, TrainTable
from kdtool.study.keys import ALGORITHMS, changed_algorithms, key_of, short_key

RECIPE = make_recipe(
    {
        "name": "tiny",
        "data": {"source": "digits"},
        "teacher": {"model": "mnist-cnn"},
        "student": {"model": "mnist-mlp"},
    },
    "test",
)


def test_keys_differ_with_what_they_are_made_of():
    other = RECIPE.model_copy(update={"name": "other"})
    settings = [(RECIPE,), (other,), (RECIPE, 1), (RECIPE, "1"), ([1, 2],)]
    keys = {key_of("evaluate", *each) for each in settings} | {key_of("cost", RECIPE)}
    assert len(keys) == 6
    assert key_of("evaluate", RECIPE) == key_of("evaluate", RECIPE.model_copy())


def test_a_key_is_the_same_in_the_next_release(monkeypatch):
    key = key_of("evaluate", RECIPE)
    monkeypatch.setattr(kdtool, "__version__", "99.0.0")
    assert key_of("evaluate", RECIPE) == key
    # written down: whoever changes it retrains the studies of every user
    assert key_of("cost", "mnist-mlp", [1, 8, 8]) == "cost.1:7c4796f2096f8850"


def test_a_raised_number_changes_the_keys_of_its_algorithm_only(monkeypatch):
    names = ["train", "batch-norm"]
    before = {name: key_of(name, 1) for name in ("train", "batch-norm", "cost")}
    both, plain = key_of(names, 1), key_of("train", 1)
    monkeypatch.setitem(ALGORITHMS, "batch-norm", ALGORITHMS["batch-norm"] + 1)
    assert [name for name in before if key_of(name, 1) != before[name]] == ["batch-norm"]
    assert changed_algorithms(both, key_of(names, 1)) == [
        f"batch-norm {ALGORITHMS['batch-norm'] - 1} -> {ALGORITHMS['batch-norm']}"
    ]
    # a network without BatchNorm is not trained again
    assert key_of("train", 1) == plain
    assert changed_algorithms(both, key_of(names, 2)) == []  # other settings
    assert changed_algorithms(both, both) == []
    assert short_key(both) != short_key(key_of(names, 1))


def test_an_algorithm_without_a_number_has_no_key():
    with pytest.raises(KeyError, match="unknown"):
        key_of("unknown", 1)


def test_keys_of_kdtool_0_1_0_count_as_the_first_algorithm(monkeypatch):
    monkeypatch.setitem(ALGORITHMS, "train", 3)
    assert changed_algorithms("0123456789abcdef", key_of("train", 1)) == ["train 1 -> 3"]
    monkeypatch.setitem(ALGORITHMS, "train", 1)
    assert changed_algorithms("0123456789abcdef", key_of("train", 1)) == []


def test_a_new_key_of_the_recipe_trains_nothing_again_and_a_changed_default_is_noticed():
    """Keys leave out what is at its default.

    If a default below changes, raise the number of the algorithm that reads it ("train", "latency"
    or "explain"): otherwise a result of the old default would be reused for the new one.
    """
    table = TrainTable(model="mnist-mlp", epochs=3)
    assert key_of("train", table) == key_of("train", {"model": "mnist-mlp", "epochs": 3})
    defaults = {
        name: field.get_default()
        for kind in (TrainTable, ProfileTable, ExplainTable)
        for name, field in kind.model_fields.items()
        if not field.is_required()
    }
    assert defaults == {
        "weights": None,
        "normalize": "weights",
        "input_size": None,
        "classes": None,
        "epochs": 12,
        "min_steps": 0,
        "batch_size": 256,
        "train": "all",
        "learning_rate": 1e-3,
        "backbone_learning_rate": None,
        "warmup": 0,
        "schedule": "constant",
        "phase": [],
        "early_stop": None,
        "optimizer": "adam",
        "momentum": 0.9,
        "weight_decay": 0,
        "label_smoothing": 0,
        "mixup": 0,
        "ema": 0,
        "class_weights": "none",
        "sampling": "shuffle",
        "precision": "auto",
        "threads": 1,
        "seconds": 3,
        "method": "gradient",
        "images": 8,
    }
    assert all(
        field.get_default() is None
        for name, field in PhaseTable.model_fields.items()
        if not field.is_required()
    )
