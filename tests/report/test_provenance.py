"""How a study was made."""

import tomllib

from kdtool.report.provenance import section


def ranks(results):
    return [fact.value for fact in section(results).machine if fact.name == "Ranks"]


def trained_by(results, numbers):
    """The same study, its models trained by so many ranks, in turn."""
    models = {}
    for role, model in results.models.items():
        pairs = zip(model.seeds, numbers, strict=False)
        seeds = [seed.model_copy(update={"num_ranks": number}) for seed, number in pairs]
        models[role] = model.model_copy(update={"seeds": seeds})
    return results.model_copy(update={"models": models})


def test_the_number_of_ranks_is_given_where_there_were_several(build):
    results = build()
    seeds = [one.seed for one in results.models["control"].seeds]
    assert len(seeds) > 1
    assert ranks(results) == []
    two = trained_by(results, [2] * len(seeds))
    assert ranks(two) == ["2 processes of torchrun trained each model together"]
    (text,) = ranks(trained_by(results, [1, *[4] * (len(seeds) - 1)]))
    begin, four = text.split("; ")
    assert begin.startswith("processes of torchrun that trained a model together: 1 for teacher")
    assert four.startswith("4 for ")
    assert f"control with seed {seeds[1]}" in four
    assert f"control with seed {seeds[0]}" not in four


def test_what_the_recipe_does_not_set_is_left_out_of_its_toml(build):
    recipe = {"name": "one", "data": {"root": None, "group": [1, None]}, "phase": [{"train": None}]}
    shown = section(build().model_copy(update={"recipe": recipe})).recipe
    assert tomllib.loads(shown) == {"name": "one", "data": {"group": [1]}, "phase": [{}]}
