"""What a subclass study adds to a results.json: calibration, flips, subclasses, bias shift."""

import numpy as np

from kdtool.results.base import TEACHER_OF, Summary
from kdtool.results.evidence import (
    Answered,
    BiasShift,
    Calibration,
    ClassSubclasses,
    Coverage,
    FineMatch,
    Flips,
    Gallery,
    GalleryImage,
    ReliabilityBin,
    ShiftedClass,
    SubclassUse,
)

NUM_SUBCLASSES = 5


def calibration(temperature, validation_nll_after):
    before = [(0.55, 0.41, 21), (0.75, 0.6, 48), (0.9, 0.83, 160), (0.998, 0.992, 9771)]
    after = [(0.53, 0.52, 64), (0.74, 0.75, 112), (0.89, 0.9, 301), (0.995, 0.994, 9523)]
    return Calibration(
        temperature=temperature,
        nll=0.041,
        ece=0.004,
        validation_nll_before=0.052,
        validation_nll_after=validation_nll_after,
        before=[ReliabilityBin(confidence=c, accuracy=a, num_images=n) for c, a, n in before],
        after=[ReliabilityBin(confidence=c, accuracy=a, num_images=n) for c, a, n in after],
    )


def coverage(num_test, accuracy):
    """A model that knows of half of its mistakes that it is not sure."""

    def answered(threshold, share, accuracy):
        num_answered = round(share * num_test)
        return Answered(
            threshold=threshold, share=share, num_answered=num_answered, accuracy=accuracy
        )

    wrong = 1 - accuracy
    points = [(0.31, 1.0, wrong), (0.62, 0.95, 0.5 * wrong), (0.97, 0.6, 0.2 * wrong)]
    return Coverage(
        num_mistakes=30,
        curve=[answered(t, share, 1 - error) for t, share, error in points],
        chosen=answered(0.62, 0.94, 1 - 0.5 * wrong),
        test=answered(0.62, 0.95, 1 - 0.5 * wrong),
        test_ci95=(1 - 0.6 * wrong, 1 - 0.4 * wrong),
    )


def flips(roles, num_test):
    pairs = [(s, against) for s, t in TEACHER_OF.items() for against in (t, "control")]
    pairs.append(("subclass-student", "student"))
    lost, gained, both_wrong = num_test // 90, num_test // 200, num_test // 250
    return [
        Flips(
            of=of,
            against=against,
            both_right=num_test - lost - gained - both_wrong,
            gained=gained,
            lost=lost,
            both_wrong=both_wrong,
            gained_images=[3 * i for i in range(12)],
            lost_images=[3 * i + 1 for i in range(9)],
        )
        for of, against in pairs
        if {of, against} <= set(roles)
    ]


def uses(roles, seeds, exported, classes, num_fine, *, collapsed):
    return [
        SubclassUse(
            role=role,
            seed=seed,
            exported=seed == exported[role],
            per_class=[
                class_use(i, name, seed == exported[role], collapsed=collapsed and i == 1)
                for i, name in enumerate(classes)
            ],
            fine=fine_match(num_fine, len(classes)) if num_fine else None,
        )
        for role in roles
        if role.startswith("subclass")
        for seed in seeds
    ]


def class_use(place, name, exported, *, collapsed):
    shares = np.roll([0.31, 0.24, 0.21, 0.16, 0.08], place)
    if collapsed:
        shares = np.array([0.99, 0.01, 0, 0, 0])
    used = shares[shares > 0]
    claimed = [
        [(7 * (NUM_SUBCLASSES * place + s) + i) % 40 for i in range(8 if share else 0)]
        for s, share in enumerate(shares)
    ]
    return ClassSubclasses(
        name=name,
        shares=shares.tolist(),
        effective=float(np.exp(-(used * np.log(used)).sum())),
        collapsed=collapsed,
        claimed=claimed if exported else [[] for _ in shares],
    )


def fine_match(num_fine, num_classes):
    table = np.full((num_fine, num_classes * NUM_SUBCLASSES), 3)
    table[np.arange(num_fine), np.arange(num_fine) % table.shape[1]] = 900
    return FineMatch(
        accuracy=0.871,
        accuracy_ci95=(0.864, 0.877),
        adjusted_mutual_information=0.79,
        table=table.tolist(),
    )


def bias_shifts(roles, seeds, classes, excluded):
    def one(value):
        return Summary(mean=value, std=0.002, ci95=(value - 0.006, min(1.0, value + 0.006)))

    return [
        BiasShift(
            role=role,
            shifts=[2.7 + 0.1 * i for i in range(len(seeds))],
            accuracy=one(0.971),
            shifted_accuracy=one(0.982),
            per_class=[
                ShiftedClass(
                    name=name,
                    accuracy=one(0.883 if name in excluded else 0.985),
                    shifted_accuracy=one(0.974 if name in excluded else 0.983),
                )
                for name in classes
            ],
        )
        for role in roles
        if role in ("control", *TEACHER_OF)
    ]


def gallery(roles, classes, fine_classes):
    num_classes = len(classes)

    def one(i):
        label, other = classes[i % num_classes], classes[(i + 1) % num_classes]
        return GalleryImage(
            index=i,
            label=label,
            fine_label=fine_classes[i % len(fine_classes)] if fine_classes else None,
            predictions={r: other if (i + n) % 4 == 0 else label for n, r in enumerate(roles)},
            probabilities=dict.fromkeys(roles, 0.99 - 0.01 * i),
        )

    return Gallery(path="gallery.npz", images=[one(i) for i in range(40)])


def write_gallery(results, folder):
    """The images that `results.gallery` names: rings of different size."""
    channels, height, width = results.data.image_shape
    y, x = np.mgrid[0:height, 0:width] / height * 28
    rings = [
        np.exp(-(((np.hypot(x - 14, y - 14) - 4 - i % 7) / 1.6) ** 2))
        for i in range(len(results.gallery.images))
    ]
    images = np.stack([(255 * ring).astype(np.uint8)[..., None] for ring in rings])
    np.savez_compressed(folder / results.gallery.path, images=images.repeat(channels, axis=3))


def with_evidence(
    results,
    *,
    fine_classes=(),
    excluded=(),
    collapsed=False,
    temperature=1.42,
    validation_nll_after=0.043,
):
    """`results` with all that tells how the models differ; `collapsed`: of the second class."""
    roles, data = list(results.models), results.data
    calibrated = calibration(temperature, validation_nll_after)
    seeds = [run.seed for run in next(iter(results.models.values())).seeds]
    exported = {role: model.exported_seed for role, model in results.models.items()}
    models = {
        role: model.model_copy(
            update={
                "seeds": [
                    run.model_copy(update={"calibration": calibrated}) for run in model.seeds
                ],
                "coverage": coverage(data.num_test, model.exported.test.accuracy),
            }
        )
        for role, model in results.models.items()
    }
    step = -(-len(fine_classes) // len(data.classes)) or 1
    groups = [list(fine_classes[i : i + step]) for i in range(0, len(fine_classes), step)]
    changed = {"fine_classes": list(fine_classes), "groups": groups, "excluded": list(excluded)}
    found = uses(roles, seeds, exported, data.classes, len(fine_classes), collapsed=collapsed)
    return results.model_copy(
        update={
            "models": models,
            "data": data.model_copy(update=changed),
            "flips": flips(roles, data.num_test),
            "subclasses": found,
            "bias_shifts": bias_shifts(roles, seeds, data.classes, excluded) if excluded else [],
            "gallery": gallery(roles, data.classes, list(fine_classes)),
        }
    )


def judged(results, **words):
    """`results` with the verdicts that `words` names by "of/against"; others stay."""
    changed = [
        verdict.model_copy(update=words.get(f"{verdict.of}/{verdict.against}", {}))
        for verdict in results.verdicts
    ]
    return results.model_copy(update={"verdicts": changed})
