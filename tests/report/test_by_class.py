import pytest

from kdtool.report.provenance import imbalance
from kdtool.report.sections import classes
from kdtool.report.sections.classes import few_images, one_class_calls
from kdtool.results.base import METRICS

ROLES = ("teacher", "control", "student")


def heads(results):
    return [(column.group, column.name) for column in classes.columns(results)]


def test_a_row_holds_every_score_of_a_model_of_two_classes(build, typed):
    results = build(classes=("SSA", "HP"), num_test=977, scores={"metric": "weighted_f1"})
    assert heads(results) == [
        ("Accuracy", "SSA"),
        ("Accuracy", "HP"),
        ("Accuracy", "all"),
        ("F1", "SSA"),
        ("F1", "HP"),
        ("F1", "weighted"),
        ("F1", "macro"),
        ("Balanced accuracy", ""),
        ("ROC AUC", "of SSA"),
        ("PR AUC", "of SSA"),
    ]
    columns = classes.columns(results)
    for row, role in enumerate(ROLES):
        model = results.models[role]
        ssa, hp = model.per_class
        found = [ssa.accuracy, hp.accuracy, model.test["accuracy"], ssa.f1, hp.f1]
        found += [model.test[metric] for metric in METRICS if metric.endswith("f1")]
        found += [model.test[one] for one in ("balanced_accuracy", "roc_auc", "pr_auc")]
        for column, summary in zip(columns, found, strict=True):
            cell = column.cell(row)
            low, high = summary.ci95
            if "accuracy" in column.metric:
                assert typed(cell.value) == f"{100 * summary.mean:.2f} %"
                assert cell.interval == f"{100 * low:.2f} to {100 * high:.2f}"
            else:
                assert cell.value == f"{summary.mean:.3f}"
                assert cell.interval == f"{low:.3f} to {high:.3f}"


def test_differences_are_of_the_means_in_the_unit_of_their_score(build, typed):
    results = build(classes=("SSA", "HP"), num_test=977, scores={"metric": "accuracy"})
    columns = classes.columns(results)
    change = {(one.group, one.name): typed(one.change(2, 1)) for one in columns}
    student, control = (results.models[role].per_class[1] for role in ("student", "control"))
    assert (
        change["Accuracy", "HP"] == f"{100 * (student.accuracy.mean - control.accuracy.mean):+.2f}"
    )
    assert change["F1", "HP"] == f"{student.f1.mean - control.f1.mean:+.3f}"
    assert change["ROC AUC", "of SSA"] == "+0.019"


def test_more_classes_than_fit_have_rows_of_their_own(build):
    names = [f"c{i}" for i in range(classes.MOST_IN_A_ROW + 1)]
    options = {"num_test": 900, "scores": {"metric": "accuracy", "duplicates": False}}
    more = heads(build(classes=names, **options))
    assert more == [
        ("Accuracy", ""),
        ("F1", "weighted"),
        ("F1", "macro"),
        ("Balanced accuracy", ""),
        ("ROC AUC", ""),
        ("PR AUC", ""),
    ]
    fits = heads(build(classes=names[:-1], **options))
    assert [name for group, name in fits if group == "F1"] == [*names[:-1], "weighted", "macro"]


def test_results_of_an_older_kdtool_show_their_scores(build):
    results = build(classes=("a", "b"))
    assert heads(results) == [
        ("Accuracy", "a"),
        ("Accuracy", "b"),
        ("Accuracy", "all"),
        ("F1", "weighted"),
    ]
    model = results.models["teacher"]
    (run,) = [run for run in model.seeds if run.seed == model.exported_seed]
    cell = classes.columns(results)[1].cell(0)
    assert cell.value.startswith(f"{100 * run.test.per_class[1].accuracy:.2f}")
    assert "scores of single classes from the exported seeds" in classes.scores_of(results)


def test_the_positive_class_is_named(build):
    results = build(classes=("SSA", "HP"), num_test=90, scores={"metric": "accuracy"})
    text = classes.meaning(results)
    assert "The positive class is SSA: its accuracy is the sensitivity, the accuracy of HP" in text
    assert "positive" not in classes.meaning(build())


def counted(build, **counts):
    data = build(classes=("SSA", "HP", "other"), num_test=90).data
    return data.model_copy(update={"class_counts": data.class_counts | counts})


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ([20, 30, 40], None),
        ([12, 30, 40], "SSA has 12 test images."),
        ([12, 30, 19], "SSA has 12 test images, other 19."),
    ],
)
def test_classes_with_few_test_images_are_a_warning(build, test, expected):
    sentence = few_images(counted(build, test=test))
    assert sentence == (expected and f"The scores of small classes are uncertain: {expected}")


def test_many_such_classes_are_counted(build):
    data = build(classes=[f"c{i}" for i in range(9)], num_test=90).data
    assert few_images(data).endswith("c5 10, 3 more have fewer than 20.")


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ([100, 120, 149], None),
        ([1545, 630, 700], "SSA has 2.45 times as many training images as HP (1,545 and 630)."),
        ([10, 0, 700], None),
    ],
)
def test_uneven_classes_have_a_sentence(build, train, expected):
    sentence = imbalance(counted(build, train=train))
    assert sentence == (expected and f"The classes are uneven: {expected}")


def with_confusion(results, role, confusion):
    model = results.models[role]
    seeds = [
        seed.model_copy(update={"test": seed.test.model_copy(update={"confusion": confusion})})
        for seed in model.seeds
    ]
    models = results.models | {role: model.model_copy(update={"seeds": seeds})}
    return results.model_copy(update={"models": models})


def test_models_that_predict_one_class_only_are_an_alarm(build):
    results = build(classes=("HP", "SSA"), num_test=90)
    assert one_class_calls(results) is None
    results = with_confusion(results, "student", [[60, 0], [30, 0]])
    assert one_class_calls(results).startswith("The student predicts HP for every test image: ")
    results = with_confusion(results, "control", [[60, 0], [30, 0]])
    results = with_confusion(results, "teacher", [[0, 60], [0, 30]])
    assert one_class_calls(results).startswith(
        "The teacher predicts SSA for every test image; the control and the student predict HP for "
        "every test image: train longer"
    )
