"""How many models train at a time, and with how many threads."""

from dataclasses import replace

import pytest
import torch
from recorded import Recorded

from kdtool.errors import KdtoolError
from kdtool.train.pipeline.parallel import share
from kdtool.train.pipeline.parallel.cluster import warn_of_unused_gpus
from kdtool.train.pipeline.parallel.share import (
    Cluster,
    Node,
    Share,
    jobs_of,
    operations,
    share_of,
    share_of_cluster,
)

GB = 10**9


def test_several_processes_train_only_where_training_takes_long(open_study, monkeypatch):
    run = open_study(**{"student.model": "mnist-mlp", "student.epochs": 3})
    roles = ["control", "student", "student"]
    macs = 64 * 784 + 784 * 784 + 784 * 10
    done = 3 * 2 * macs * 3 * 3 * len(run.splits.train)  # passes, mul and add; epochs, models
    assert operations(run, roles) == done
    of_teacher = open_study(**{"teacher.model": "mnist-mlp", "teacher.epochs": 3})
    assert operations(of_teacher, ["teacher"]) == done / 3
    assert jobs_of(run, None, roles) == 1
    assert jobs_of(run, 5, roles) == 3
    monkeypatch.setattr(share, "WORTH_PROCESSES", done)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    assert jobs_of(run, None, roles) == 2
    assert jobs_of(run, 1, roles) == 1
    assert share_of(run, None, None, roles) == Share(jobs=2, threads=1)
    assert share_of(run, 1, None, roles) == Share(jobs=1, threads=2)
    assert jobs_of(run, None, ["teacher"]) == 1


def test_batches_that_fit_into_memory_one_at_a_time_are_not_cut(open_study, monkeypatch):
    monkeypatch.setattr(share, "WORTH_PROCESSES", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    roles = ["teacher", "subclass-teacher"]
    for batch_size, jobs in ((64, 2), (10**9, 1)):
        run = open_study(**{"teacher.model": "mnist-cnn", "teacher.batch_size": batch_size})
        assert jobs_of(run, None, roles) == jobs
        assert jobs_of(run, 2, roles) == 2


def test_every_gpu_trains_a_model(open_study, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    run = replace(open_study(), device=torch.device("cuda"))
    assert jobs_of(run, None, ["teacher", "subclass-teacher", "control"]) == 2
    named = replace(run, device=torch.device("cuda:1"))
    assert jobs_of(named, None, ["teacher", "control"]) == 1


@pytest.mark.parametrize(
    ("cores", "num_models", "expected"),
    [
        ([1, 1], 5, Share(2, 1, GB)),
        ([8, 8], 4, Share(4, 4, GB)),
        ([8, 8], 1, Share(1, 8, GB)),  # no model spreads over two nodes
        ([16, 4], 2, Share(2, 4, GB)),  # the smaller node takes one too
        ([6], 4, Share(4, 1, GB)),
        ([0, 3], 2, Share(2, 1, GB)),  # a head that lends nothing
    ],
)
def test_the_cores_of_a_cluster_are_divided_among_all_models(cores, num_models, expected):
    cluster = Cluster("auto", [Node(count, 0, GB) for count in cores])
    assert share_of_cluster(cluster, num_models, GB, gpus=False) == expected


@pytest.mark.parametrize(
    ("nodes", "num_models", "expected"),
    [
        ([(16, 2), (16, 2)], 9, Share(4, 8, GB)),
        ([(16, 2), (64, 0)], 9, Share(2, 8, GB)),  # no GPU, no model
        ([(4, 8)], 9, Share(4, 1, GB)),  # each needs a core
    ],
)
def test_on_gpus_a_model_has_one_of_them(nodes, num_models, expected):
    cluster = Cluster("auto", [Node(cpus, gpus, GB) for cpus, gpus in nodes])
    assert share_of_cluster(cluster, num_models, GB, gpus=True) == expected


@pytest.mark.parametrize(
    ("asked", "gpus", "num_warnings"), [("auto", [4, 0], 1), ("auto", [0], 0), ("cpu", [4], 0)]
)
def test_gpus_of_a_cluster_that_are_not_used_are_a_warning(open_study, asked, gpus, num_warnings):
    cluster = Cluster("ray://head:10001", [Node(8, count, GB) for count in gpus])
    run = replace(open_study(), reporter=Recorded())
    warn_of_unused_gpus(run, asked, cluster)
    assert len(run.reporter.warned) == num_warnings
    assert all("the cluster has 4 GPUs, and this" in text for text in run.reporter.warned)
    warn_of_unused_gpus(run, asked, None)
    assert len(run.reporter.warned) == num_warnings


@pytest.mark.parametrize(
    ("nodes", "gpus", "said"),
    [
        ([], False, "a CPU and 1.00 GB of memory for a model, got no node; add nodes"),
        ([Node(0, 0, GB)], False, r"got 1 node \(0 CPUs, 0 GPUs, "),
        ([Node(8, 1, GB // 2)], False, r"got 1 node \(8 CPUs, 1 GPU, 500 MB\)"),
        (
            [Node(8, 0, GB)],
            True,
            r"a CPU and a GPU and 1.00 GB .*, got 1 node \(8 CPUs, .*or give --device cpu",
        ),
    ],
)
def test_a_cluster_that_can_train_nothing_is_an_error(nodes, gpus, said):
    with pytest.raises(KdtoolError, match=said):
        share_of_cluster(Cluster("auto", nodes), 3, GB, gpus=gpus)
