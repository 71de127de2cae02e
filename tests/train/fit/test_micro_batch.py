"""A batch in parts has the gradient of the whole; one that does not fit is cut until it does."""

import os
import platform
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kdtool.environment import memory, own_memory
from kdtool.train.fit.losses import kd_loss
from kdtool.train.fit.memory import within_free_memory
from kdtool.train.fit.methods import dist_loss
from kdtool.train.fit.micro_batch import LearnWhatFits, learn_in_parts, learn_whole

NUM_IMAGES, NUM_CLASSES = 12, 5


def network(*, draws=False, norm=False):
    torch.manual_seed(0)
    layers = [nn.Flatten(), nn.Linear(8, 16)]
    layers += [nn.BatchNorm1d(16)] * norm + [nn.Dropout(0.5)] * draws
    return nn.Sequential(*layers, nn.ReLU(), nn.Linear(16, NUM_CLASSES)).double()


def batch():
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(NUM_IMAGES, 2, 2, 2, generator=generator, dtype=torch.float64)
    return images, torch.randint(NUM_CLASSES, (NUM_IMAGES,), generator=generator)


def loss_of(name, labels):
    teacher = torch.linspace(-2, 2, NUM_IMAGES * NUM_CLASSES, dtype=torch.float64).sin() * 3
    answers = teacher.view(NUM_IMAGES, NUM_CLASSES)
    return {
        "cross-entropy": lambda logits: F.cross_entropy(logits, labels),
        "kd": lambda logits: kd_loss(logits, answers, 4.0),
        "dist, which compares the images of a batch": lambda logits: dist_loss(
            logits, answers, 1.0, 1.0, 1.0
        ),
    }[name]


def gradients(model):
    return {name: value.grad.clone() for name, value in model.named_parameters()}


@pytest.mark.parametrize("num_parts", [1, 2, 5, NUM_IMAGES])
@pytest.mark.parametrize(
    "name", ["cross-entropy", "kd", "dist, which compares the images of a batch"]
)
def test_parts_add_up_to_the_gradient_of_the_whole_batch(name, num_parts):
    images, labels = batch()
    whole, cut = network(), network()
    expected = learn_whole(whole)(images, loss_of(name, labels))
    loss = learn_in_parts(cut, cut, images, loss_of(name, labels), num_parts)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert not loss.requires_grad
    torch.testing.assert_close(gradients(cut), gradients(whole), rtol=1e-10, atol=1e-14)


def test_a_part_draws_the_same_in_both_passes():
    """With other draws in its second pass, the gradient would be that of another function."""
    images, labels = batch()
    model, expected = network(draws=True), network(draws=True)
    torch.manual_seed(7)
    learn_in_parts(model, model, images, loss_of("cross-entropy", labels), 3)
    after = torch.get_rng_state()
    torch.manual_seed(7)
    logits = torch.cat([expected(part) for part in images.tensor_split(3)])
    F.cross_entropy(logits, labels).backward()
    torch.testing.assert_close(gradients(model), gradients(expected), rtol=1e-10, atol=1e-14)
    assert torch.equal(torch.get_rng_state(), after)


def test_running_statistics_see_each_part_once():
    images, labels = batch()
    model, expected = network(norm=True), network(norm=True)
    learn_in_parts(model, model, images, loss_of("cross-entropy", labels), 2)
    for part in images.tensor_split(2):
        expected(part)
    for name, value in expected.named_buffers():
        torch.testing.assert_close(model.get_buffer(name), value)


# In a process whose address space has room for the network and half of the activations.
WITHOUT_ROOM = """
import resource, torch
from torch import nn
from torch.nn import functional as F
from kdtool.train.fit.micro_batch import LearnWhatFits, learn_whole

torch.set_num_threads(1)
NUM, WIDTH = 4096, 8192
model = nn.Sequential(nn.Linear(16, WIDTH), nn.ReLU(), nn.Dropout(0.5), nn.Linear(WIDTH, 2))
images, labels = torch.rand(NUM, 16), torch.randint(2, (NUM,))
small = learn_whole(model)
small(images[:8], lambda logits: F.cross_entropy(logits, labels[:8]))  # libraries are loaded
model.zero_grad()
activations = NUM * WIDTH * 4
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
told = []
learn = LearnWhatFits(model, model, told.append)
hard = resource.getrlimit(resource.RLIMIT_AS)[1]
resource.setrlimit(resource.RLIMIT_AS, (used + 2 * activations, hard))
torch.manual_seed(3)
loss = learn(images, lambda logits: F.cross_entropy(logits, labels))
after = torch.get_rng_state()
num_told = len(told)
learn(images, lambda logits: F.cross_entropy(logits, labels))
assert len(told) == num_told, "the number of parts is kept"
resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
torch.manual_seed(3)
logits = torch.cat([model(part) for part in images.tensor_split(2**num_told)])
torch.testing.assert_close(F.cross_entropy(logits, labels).detach(), loss)
assert torch.equal(torch.get_rng_state(), after), "a step that is repeated has its own draws"
print(told[0])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits an address space as Linux does")
def test_a_batch_that_does_not_fit_is_cut_until_it_does():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_ROOM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (
        "a batch of 4,096 images does not fit into memory: it passes the network in 2 parts, twice "
        "each, and its loss stays that of the whole. BatchNorm sees one part at a time; a smaller "
        "batch_size is faster"
    )


# In a process that may take no more memory than `room`, like one on a machine that has no more.
LIMITED = """
import torch
from torch import nn
from torch.nn import functional as F
from kdtool.train.fit.memory import free_memory, limit_memory
from kdtool.train.fit.micro_batch import KERNELS, PEAK, PER_WEIGHT, LearnWhatFits, kept_bytes
from kdtool.train.fit.micro_batch import learn_whole, parts_that_fit

torch.set_num_threads(1)
NUM, WIDTH = 2048, 8192
model = nn.Sequential(nn.Linear(64, WIDTH), nn.Tanh(), nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 2))
images, labels = torch.rand(NUM, 64), torch.randint(2, (NUM,))
learn_whole(model)(images[:8], lambda logits: F.cross_entropy(logits, labels[:8]))
model.zero_grad()
kept = 2 * 4 * WIDTH  # of an image: what the tanh and the BatchNorm give
assert kept_bytes(model, images[:10].clone()) - kept_bytes(model, images[:8].clone()) == 2 * (
    kept + 4 * images.shape[1])
weights = PER_WEIGHT * sum(weight.nbytes for weight in model.parameters())
assert parts_that_fit(model, model, images) == 1
limit_memory(KERNELS + weights + int(PEAK * NUM * kept / 3))  # a third of what it takes
draws, statistics = torch.get_rng_state(), model[2].running_mean.clone()
assert parts_that_fit(model, model, images) == 4
held = torch.ones(int(PEAK * NUM * kept / 4 / 6))  # half of that
assert parts_that_fit(model, model, images) == 8
del held
assert parts_that_fit(model, model, images) == 4, "what is freed is free again"
assert torch.equal(torch.get_rng_state(), draws)
assert torch.equal(model[2].running_mean, statistics)
told = []
LearnWhatFits(model, model, told.append)(images, lambda logits: F.cross_entropy(logits, labels))
assert len(told) == 1 and "in 4 parts" in told[0], told
try:
    torch.empty(free_memory() + 10**9, dtype=torch.uint8)
except RuntimeError as error:
    assert "DefaultCPUAllocator" in str(error)
else:
    raise AssertionError("more memory than the limit")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_the_parts_that_fit_are_foreseen():
    done = subprocess.run(
        [sys.executable, "-c", LIMITED], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# A whole training: its batch would take three times the memory that it may have.
TRAINED = """
import sys
from pathlib import Path
import torch
from torch import nn
from torch.nn import functional as F
from loading import load_splits
from kdtool.recipe.data import DigitsTable
from kdtool.recipe.training import TrainTable
from kdtool.train.fit.batches import Training
from kdtool.train.fit.loop import fit
from kdtool.train.fit.memory import limit_memory
from kdtool.train.fit.micro_batch import KERNELS, PEAK, PER_WEIGHT

torch.set_num_threads(1)
NUM, WIDTH = 1024, 16384
model = nn.Sequential(nn.Flatten(), nn.Linear(64, WIDTH), nn.Tanh(), nn.Linear(WIDTH, 10))
splits = load_splits(DigitsTable(source="digits"), print)
model(splits.train.images[:8] / 255).sum().backward()  # libraries are loaded
torch.optim.Adam(model.parameters())
table = TrainTable(model="any", epochs=3, batch_size=NUM, learning_rate=1e-3, precision="fp32")
weights = PER_WEIGHT * sum(weight.nbytes for weight in model.parameters())
limit_memory(KERNELS + weights + int(PEAK * NUM * WIDTH * 4 / 3))

def batch_loss(logits, batch):
    assert len(logits) == len(batch.index)
    return F.cross_entropy(logits, batch.targets)

state, warned = Path(sys.argv[1], "a.state.pt"), []
result, _ = fit(
    model, splits, Training(table, seed=0), batch_loss, state, lambda *_: None, warned.append)
assert result.best.validation_accuracy > 0.5, result.best
assert not warned
print(*result.warnings, sep="\\n")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_a_training_with_a_batch_that_does_not_fit_ends_with_a_warning(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", TRAINED, tmp_path],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.match(
        r"a batch of 1,024 images does not fit into memory: it passes the network in \d+ parts",
        done.stdout,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux alone")
def test_no_more_memory_is_taken_than_is_free():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with within_free_memory(torch.device("cpu")):
        num_bytes = memory()[0] + own_memory("VmData:")
        with pytest.raises(RuntimeError, match="DefaultCPUAllocator"):
            torch.empty(num_bytes, dtype=torch.uint8)
        limited = resource.getrlimit(resource.RLIMIT_DATA)
        with within_free_memory(torch.device("cpu")):
            assert resource.getrlimit(resource.RLIMIT_DATA) == limited
    with within_free_memory(torch.device("cuda")):
        assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other allocators are not asked")
def test_memory_that_is_kept_can_be_given_back():
    program = """
import resource, torch
from kdtool.train.fit.memory import give_back_memory, keep_freed_memory

def resident():
    return resource.getpagesize() * int(open("/proc/self/statm").read().split()[1])

keep_freed_memory()
before = resident()
parts = [torch.ones(2**20) for _ in range(100)]
small = torch.ones(10)  # on top of them
del parts
assert resident() - before > 350e6
give_back_memory()
assert resident() - before < 100e6
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_other_errors_and_batches_that_cannot_be_cut_end_the_step():
    told = []
    images = torch.rand(3, 8)

    def forward(message):
        def raises(_images):
            raise RuntimeError(message)

        return LearnWhatFits(raises, nn.Linear(8, 2), told.append)

    out_of_memory = ("DefaultCPUAllocator: can't allocate memory", "could not create a primitive")
    for message in ("shapes differ", *out_of_memory):
        with pytest.raises(RuntimeError, match=message):
            forward(message)(images, torch.sum)
    assert told == []


def test_a_smaller_last_batch_passes_in_fewer_parts():
    torch.manual_seed(0)
    model = network(norm=True)
    images, labels = batch()
    learn = LearnWhatFits(model, model, pytest.fail)
    learn.num_parts = NUM_IMAGES // 2  # as after memory ran out
    for size in (NUM_IMAGES, 5, 3, 2):
        model.zero_grad()
        loss = learn(images[:size], loss_of("cross-entropy", labels[:size]))
        found = gradients(model)
        model.zero_grad()
        num_parts = size // 2
        whole = learn_in_parts(
            model, model, images[:size], loss_of("cross-entropy", labels[:size]), num_parts
        )
        torch.testing.assert_close(loss, whole)
        torch.testing.assert_close(found, gradients(model))
