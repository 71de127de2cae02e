"""The methods against their formulas, written out image by image and class by class."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from kdtool.recipe.distill import (
    OPTIONS,
    DistOptions,
    DkdOptions,
    LsOptions,
    MseOptions,
    NkdOptions,
    RldOptions,
    WttmOptions,
)
from kdtool.train.fit.losses import balanced_weights, kd_loss, label_loss
from kdtool.train.fit.methods import (
    among,
    dist_loss,
    divergence,
    dkd_loss,
    in_or_out,
    ls_loss,
    method_loss,
    mse_loss,
    rld_loss,
    soft_loss,
    standardized,
    wttm_loss,
)

EXACT = {"rtol": 1e-12, "atol": 1e-12}
# With values that are no defaults and differ, so that none can stand for another.
CHOSEN = [
    LsOptions(temperature=3.0),
    DkdOptions(temperature=2.5, alpha=0.7, beta=3.0),
    DistOptions(temperature=1.5, beta=0.6, gamma=2.0),
    WttmOptions(gamma=0.3),
    MseOptions(),
    NkdOptions(temperature=2.0, gamma=0.8),
    RldOptions(temperature=2.5, alpha=0.7, beta=3.0),
]


def drawn(classes, seed=0, images=6, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = scale * torch.randn(2, images, classes, generator=generator).double()
    labels = torch.randint(0, classes, (images,), generator=generator)
    return student, teacher, labels


def softmax(row):
    exps = [(one - max(row)).exp() for one in row]
    return [one / sum(exps) for one in exps]


def softened(row, temperature):
    return softmax([one / temperature for one in row])


def kl(teacher, student):
    return sum(t * (t / s).log() for t, s in zip(teacher, student, strict=True))


def without(row, dropped):
    return [one for place, one in enumerate(row) if place not in dropped]


def mean(values):
    return sum(values) / len(values)


def standard(row):
    middle = mean(row)
    deviation = (sum((one - middle) ** 2 for one in row) / (len(row) - 1)).sqrt()
    return [(one - middle) / (deviation + 1e-7) for one in row]


def pearson(one, other):
    one, other = [x - mean(one) for x in one], [x - mean(other) for x in other]
    lengths = sum(x * x for x in one).sqrt() * sum(x * x for x in other).sqrt()
    return sum(x * y for x, y in zip(one, other, strict=True)) / (lengths + 1e-8)


def ls_by_hand(s, t, y, o):
    temperature = o.temperature
    return temperature**2 * kl(
        softened(standard(t), temperature), softened(standard(s), temperature)
    )


def binary(row, place):
    return [row[place], sum(without(row, {place}))]


def dkd_by_hand(s, t, y, o):
    p, q = softened(t, o.temperature), softened(s, o.temperature)
    others = softened(without(t, {y}), o.temperature), softened(without(s, {y}), o.temperature)
    return o.temperature**2 * (o.alpha * kl(binary(p, y), binary(q, y)) + o.beta * kl(*others))


def rld_by_hand(s, t, y, o):
    p, q = softened(t, o.temperature), softened(s, o.temperature)
    first = max(range(len(t)), key=lambda place: float(t[place]))
    dropped = {place for place in range(len(t)) if t[place] >= t[y]}
    total = o.alpha * kl(binary(p, first), binary(q, y))
    if len(dropped) < len(t):
        below = [softened(without(row, dropped), o.temperature) for row in (t, s)]
        total = total + o.beta * kl(*below)
    return o.temperature**2 * total


def nkd_by_hand(s, t, y, o):
    others = softened(without(t, {y}), o.temperature), softened(without(s, {y}), o.temperature)
    cross = -sum(p * q.log() for p, q in zip(*others, strict=True))
    return -softmax(t)[y] * softmax(s)[y].log() + o.gamma * o.temperature**2 * cross


def wttm_by_hand(s, t, y, o):
    powers = [p**o.gamma for p in softmax(t)]
    return sum(powers) * kl([one / sum(powers) for one in powers], softmax(s))


def mse_by_hand(s, t, y, o):
    differences = [(a - mean(s)) - (b - mean(t)) for a, b in zip(s, t, strict=True)]
    return mean([one**2 for one in differences])


BY_HAND = dict(
    zip(
        (LsOptions, DkdOptions, WttmOptions, MseOptions, NkdOptions, RldOptions),
        (ls_by_hand, dkd_by_hand, wttm_by_hand, mse_by_hand, nkd_by_hand, rld_by_hand),
        strict=True,
    )
)


def by_hand(student, teacher, labels, options):
    """The loss of a batch from lists of scalars."""
    rows = [(list(s), list(t), int(y)) for s, t, y in zip(student, teacher, labels, strict=True)]
    if not isinstance(options, DistOptions):
        return mean([BY_HAND[type(options)](s, t, y, options) for s, t, y in rows])
    p = [softened(t, options.temperature) for _, t, _ in rows]
    q = [softened(s, options.temperature) for s, _, _ in rows]
    over_classes = 1 - mean([pearson(*pair) for pair in zip(p, q, strict=True)])
    columns = zip(zip(*p, strict=True), zip(*q, strict=True), strict=True)
    over_images = 1 - mean([pearson(*pair) for pair in columns])
    return options.temperature**2 * (options.beta * over_classes + options.gamma * over_images)


def with_gradient(loss, student):
    student = student.clone().requires_grad_()
    value = loss(student)
    return value.detach(), torch.autograd.grad(value, student)[0]


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
@pytest.mark.parametrize("options", CHOSEN, ids=lambda one: type(one).__name__)
def test_value_and_gradient_are_those_of_the_formula(options, classes):
    images = 3 if classes == 100 else 6
    student, teacher, labels = drawn(classes, images=images)
    if isinstance(options, LsOptions | DistOptions) and classes == 2:
        student, teacher = student / 3, teacher / 3  # correlations of two cancel more digits
    found = with_gradient(lambda s: soft_loss(s, teacher, labels, options), student)
    expected = with_gradient(lambda s: by_hand(s, teacher, labels, options), student)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@given(
    options=st.sampled_from(CHOSEN),
    classes=st.integers(2, 12),
    images=st.integers(2, 5),
    scale=st.floats(0.01, 10),
    offset=st.floats(-1e3, 1e3),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_logits_have_the_loss_of_the_formula(options, classes, images, scale, offset, seed):
    student, teacher, labels = drawn(classes, seed, images, scale)
    student, teacher = student + offset, teacher - offset
    value, gradient = with_gradient(lambda s: soft_loss(s, teacher, labels, options), student)
    torch.testing.assert_close(
        value, by_hand(student, teacher, labels, options), rtol=1e-8, atol=1e-8, check_dtype=False
    )
    assert gradient.isfinite().all()
    # An offset of all logits of an image means nothing, so the gradient has no part along it.
    along = gradient.sum(dim=1).abs()
    assert (along <= 1e-6 * (1 + gradient.abs().sum(dim=1))).all()


def test_every_method_is_tested():
    assert {type(one) for one in CHOSEN} == set(OPTIONS.values())


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_kd_is_the_sum_of_the_parts_of_dkd(classes):
    student, teacher, labels = drawn(classes)
    own = F.one_hot(labels, classes).bool()
    one, other = student / 4, teacher / 4
    tckd = divergence(in_or_out(one, own), in_or_out(other, own))
    nckd = divergence(among(one, ~own), among(other, ~own))
    rest = 1 - other.softmax(1)[own]
    expected = 16 * (tckd + rest * nckd).mean()
    torch.testing.assert_close(kd_loss(student, teacher, 4.0), expected, **EXACT)
    both = dkd_loss(student, teacher, labels, 4.0, 1.0, 8.0)
    torch.testing.assert_close(both, 16 * (tckd + 8 * nckd).mean(), **EXACT)


@pytest.mark.parametrize("classes", [2, 3, 10])
def test_rld_is_dkd_where_the_teacher_is_right_and_only_there(classes):
    student, teacher, labels = drawn(classes, images=40)
    right = teacher.argmax(1) == labels
    assert 0 < right.sum() < 40
    for chosen, equal in ((right, True), (~right, False)):
        given = student[chosen], teacher[chosen], labels[chosen], 4.0, 1.0, 8.0
        assert torch.allclose(rld_loss(*given), dkd_loss(*given), **EXACT) == equal


@pytest.mark.parametrize(("factor", "offset"), [(0.01, 5.0), (7.0, -3.0), (1e3, 0.0)])
def test_ls_ignores_factor_and_offset_of_the_logits(factor, offset):
    student, teacher, _ = drawn(10)
    expected = ls_loss(student, teacher, 2.0)
    near = {"rtol": 1e-4, "atol": 0}  # the 1e-7 next to the deviation
    torch.testing.assert_close(ls_loss(factor * student + offset, teacher, 2.0), expected, **near)
    torch.testing.assert_close(ls_loss(student, factor * teacher + offset, 2.0), expected, **near)
    rows = standardized(student)
    torch.testing.assert_close(rows.mean(1), torch.zeros(6).double(), **EXACT)
    torch.testing.assert_close(rows.var(1), torch.ones(6).double(), rtol=1e-6, atol=0)


def test_dist_ignores_factor_and_offset_of_probabilities_and_is_zero_for_equal_ones():
    student, teacher, _ = drawn(5)
    assert dist_loss(teacher + 3, teacher, 1.0, 1.0, 1.0).item() == pytest.approx(0, abs=1e-6)
    mixed = (0.3 * teacher.softmax(1) + 0.7 / 5).log()  # a p + b
    assert dist_loss(mixed, teacher, 1.0, 1.0, 1.0).item() == pytest.approx(0, abs=1e-5)
    assert dist_loss(student, teacher, 1.0, 1.0, 1.0).item() > 0.5


def test_wttm_is_the_divergence_from_a_soft_teacher_times_its_doubt():
    student, teacher, _ = drawn(10)
    gamma = 0.25
    target = F.log_softmax(teacher * gamma, 1)
    doubt = (teacher.softmax(1) ** gamma).sum(1)
    expected = (doubt * divergence(F.log_softmax(student, 1), target)).mean()
    torch.testing.assert_close(wttm_loss(student, teacher, gamma), expected, **EXACT)
    # from 1 for a sure teacher to C^(1 - gamma) for one that knows nothing
    flat, sure = torch.zeros(1, 10).double(), 1e3 * torch.eye(10)[:1].double()
    for logits, expected in ((sure, 1.0), (flat, 10 ** (1 - gamma))):
        ratio = wttm_loss(student[:1], logits, gamma) / divergence(
            F.log_softmax(student[:1], 1), F.log_softmax(logits * gamma, 1)
        )
        assert ratio.item() == pytest.approx(expected)


def test_mse_has_twice_the_gradient_of_kd_at_a_high_temperature_and_ignores_offsets():
    student, teacher, _ = drawn(5)
    _, of_kd = with_gradient(lambda s: kd_loss(s, teacher, 1e4), student)
    _, found = with_gradient(lambda s: mse_loss(s, teacher), student)
    torch.testing.assert_close(found, 2 * of_kd, rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(mse_loss(student + 4, teacher - 2), mse_loss(student, teacher))


@pytest.mark.parametrize("options", CHOSEN, ids=lambda one: type(one).__name__)
def test_a_perfect_student_has_the_lowest_loss(options):
    _, teacher, _ = drawn(5)
    labels = teacher.argmax(1)
    # WTTM's student has no temperature, and so the softened logits.
    perfect = teacher * (options.gamma if isinstance(options, WttmOptions) else 1)
    value, gradient = with_gradient(lambda s: soft_loss(s, teacher, labels, options), perfect)
    others = [soft_loss(drawn(5, seed)[0], teacher, labels, options) for seed in range(1, 20)]
    assert value < min(others)
    if not isinstance(options, NkdOptions):  # whose lowest loss is not at the teacher's logits
        assert gradient.abs().max() < 1e-6


@pytest.mark.parametrize(
    "kind", ["sure and right", "sure and wrong", "flat student", "flat teacher", "ties", "alike"]
)
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("options", CHOSEN, ids=lambda one: type(one).__name__)
def test_extreme_logits_give_finite_values_and_gradients(options, classes, kind):
    labels = torch.arange(8) % classes
    sure = 1e4 * F.one_hot(labels, classes).float()
    random = torch.randn(8, classes, generator=torch.Generator().manual_seed(0))
    student, teacher = {
        "sure and right": (sure, sure),
        "sure and wrong": (-sure, sure),
        "flat student": (torch.zeros(8, classes), random),
        "flat teacher": (random, torch.zeros(8, classes)),
        "ties": (random, random.round()),
        "alike": (random[:1].expand(8, -1), random[:1].expand(8, -1)),
    }[kind]
    for one, other in ((student, teacher), (1e4 * student, 1e4 * teacher)):
        value, gradient = with_gradient(lambda s, t=other: soft_loss(s, t, labels, options), one)
        assert value.isfinite()
        assert gradient.isfinite().all()


@pytest.mark.parametrize("options", CHOSEN, ids=lambda one: type(one).__name__)
def test_autocast_to_bfloat16_changes_no_loss(options):
    student, teacher, labels = drawn(10)
    student, teacher = student.float(), teacher.float()

    def found():
        return with_gradient(lambda s: soft_loss(s, teacher, labels, options), student)

    expected = found()
    with torch.autocast("cpu", torch.bfloat16):
        for one, other in zip(found(), expected, strict=True):
            assert one.dtype == torch.float32
            assert torch.equal(one, other)


def test_an_image_whose_class_the_teacher_ranks_last_teaches_rld_no_others():
    student, teacher, labels = drawn(4)
    last = teacher.argmin(1)
    _, gradient = with_gradient(lambda s: rld_loss(s, teacher, last, 2.0, 0.0, 5.0), student)
    assert (gradient == 0).all()
    _, gradient = with_gradient(lambda s: rld_loss(s, teacher, labels, 2.0, 0.0, 5.0), student)
    assert gradient.abs().max() > 0


def test_with_two_classes_these_methods_teach_next_to_nothing():
    """Why the recipe refuses them."""
    student, teacher, labels = drawn(2)

    def slope(loss):
        return with_gradient(loss, student)[1].abs().max()

    assert slope(lambda s: ls_loss(s, teacher, 2.0)) < 1e-5
    assert slope(lambda s: dkd_loss(s, teacher, labels, 4.0, 0.0, 8.0)) == 0
    assert slope(lambda s: rld_loss(s, teacher, labels, 4.0, 0.0, 8.0)) == 0
    assert slope(lambda s: dist_loss(s, teacher, 1.0, 1.0, 0.0)) < 1e-5
    assert slope(lambda s: dist_loss(s, teacher, 1.0, 0.0, 1.0)) > 1e-3
    for other in (lambda s: mse_loss(s, teacher), lambda s: wttm_loss(s, teacher, 0.2)):
        assert slope(other) > 1e-2


@pytest.mark.parametrize("options", CHOSEN, ids=lambda one: type(one).__name__)
def test_the_labels_weigh_1_and_the_method_its_weight_and_its_share(options):
    student, teacher, _ = drawn(5)
    labels = torch.arange(6) % 5
    teacher.requires_grad_()
    options = options.model_copy(update={"soft_weight": 2.5})
    weights = balanced_weights(labels, 5).double()
    soft = soft_loss(student, teacher, labels, options)
    for share in (0.0, 0.25, 1.0):
        found = method_loss(student.requires_grad_(), teacher, labels, options, share, weights)
        expected = label_loss(student, labels, weights) + share * 2.5 * soft
        torch.testing.assert_close(found, expected)
        found.backward()
        assert teacher.grad is None


def test_the_defaults_are_those_of_the_papers():
    defaults = {name: table().model_dump(exclude_none=True) for name, table in OPTIONS.items()}
    assert defaults == {
        "ls": {"soft_weight": 9, "temperature": 2},
        "dkd": {"soft_weight": 1, "temperature": 4, "alpha": 1, "beta": 8},
        "dist": {"soft_weight": 1, "temperature": 1, "beta": 1, "gamma": 1},
        "wttm": {"soft_weight": 4, "gamma": 0.2},
        "mse": {"soft_weight": 4.5},
        "nkd": {"soft_weight": 1, "temperature": 1, "gamma": 1.5},
        "rld": {"soft_weight": 1, "temperature": 4, "alpha": 1, "beta": 8},
    }
    assert math.isclose(MseOptions().soft_weight, 0.9 / 0.1 / 2)
