"""Profile ONNX files: parameters, MACs, size, memory and latency, with comparisons."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path

from kdtool.edge.count.graph import GraphCost, count_graph
from kdtool.edge.latency.driver import Worker, started_workers
from kdtool.edge.latency.job import Job
from kdtool.edge.latency.measure import Measurement, matrix_rate, measure_jobs, ratio_of
from kdtool.edge.latency.soak import soak
from kdtool.edge.metadata import read_metadata, shape_of_image
from kdtool.edge.model_file import check_file, model_opset, read_model
from kdtool.edge.providers import NVIDIA
from kdtool.edge.targets.classifier import facts_of
from kdtool.edge.targets.fastest import fastest_of
from kdtool.edge.targets.pairs import Pair, Trial, check_runtimes, pairs_of, pairs_of_folders
from kdtool.environment import OTHER_RUNTIMES, collect_environment, nvidia_gpu
from kdtool.errors import KdtoolError
from kdtool.files import scratch_folder, sha256_of
from kdtool.results.profile import (
    Agreement,
    Comparison,
    FailedRun,
    Latency,
    ModelProfile,
    OperatorTime,
    ProfileReport,
    Runtime,
)
from kdtool.stats.budget import cost_checks
from kdtool.stats.speed import speed_phrase


@dataclass(frozen=True, kw_only=True)
class ProfileOptions:
    """Settings of a profile."""

    threads: tuple[int, ...] = (1,)
    batch_sizes: tuple[int, ...] = (1,)
    seconds: float = 3.0  # measuring time for each model in each setting
    provider: str = "auto"  # of ONNX Runtime, as in `open_session`
    runtimes: tuple[Runtime, ...] = ("onnxruntime",)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # see `input_shapes`
    operators: bool = False  # time single operators as well
    soak_minutes: float | None = None  # run each model so long, in the first setting, as well
    folders: tuple[Path, ...] = ()  # of targets that were made from the files, to time as well
    # ONNX files that may be exchanged for each other, by what they are called
    groups: Mapping[str, Sequence[Path]] = field(default_factory=dict)


def profile_models(paths: Sequence[Path], options: ProfileOptions) -> ProfileReport:
    """Count and time ONNX files on this machine, in every setting of threads and batch size.

    With other runtimes than ONNX Runtime, their answers are compared with its answers first. A file
    that one of them cannot run is listed with the reason, and the others are timed.

    Args:
        paths: ONNX files, at least one; the others are compared with the first.
        options: Settings.

    Raises:
        KdtoolError: No file was given, a runtime is not installed, or no file can be counted or run
            with these settings.
    """
    if not paths:
        raise KdtoolError("no model given; give one or more .onnx files")
    for path in paths:
        check_file(path)
    settings = list(product(options.threads, options.batch_sizes))
    if not settings or not options.runtimes:
        raise KdtoolError("give at least one number of threads, one batch size and one runtime")
    check_runtimes(options.runtimes)
    converted, failed = pairs_of_folders(options.folders, paths)
    pairs = [*pairs_of(paths, options.runtimes), *converted]
    with started_workers(len(pairs)) as workers:  # they start while this process counts
        shapes = {path: options.shapes or shape_of_image(read_model(path)) for path in paths}
        costs = {
            (path, batch_size): count_graph(path, batch_size, shapes[path])
            for path in paths
            for batch_size in options.batch_sizes
        }
        jobs = {
            pair.name: [
                Job(
                    path=str(pair.path),
                    threads=threads,
                    batch_size=batch_size,
                    provider=options.provider if pair.runtime == "onnxruntime" else "auto",
                    runtime=pair.runtime,
                    shapes=dict(shapes[pair.source]),
                    facts=pair.facts,
                )
                for threads, batch_size in settings
            ]
            for pair in pairs
        }
        trials = _trials(workers[0], pairs, jobs)
        failed += [
            FailedRun(name=one.name, path=str(one.path), runtime=one.runtime, reason=reason)
            for one in pairs
            if one.name in trials and (reason := trials[one.name].failure)
        ]
        pairs = [one for one in pairs if one.name not in {run.name for run in failed}]
        if not pairs:
            raise KdtoolError(
                f"{failed[0].runtime} cannot run {failed[0].path}: {failed[0].reason}"
            )
        measured = {
            setting: measure_jobs(
                workers, [jobs[one.name][index] for one in pairs], options.seconds
            )
            for index, setting in enumerate(settings)
        }
        rates = [matrix_rate(workers, threads) for threads in dict.fromkeys(options.threads)]
        operators = [
            _operators(workers[0], jobs[one.name][0]) if options.operators else [] for one in pairs
        ]
    soaks = [
        soak(one.name, jobs[one.name][0], options.soak_minutes)
        for one in pairs
        if options.soak_minutes is not None
    ]
    return ProfileReport(
        environment=collect_environment(
            gpu_of(one.latency.provider for taken in measured.values() for one in taken),
            OTHER_RUNTIMES,
        ),
        models=[
            _model_profile(
                pair,
                [costs[pair.source, batch_size] for _, batch_size in settings],
                [measured[setting][index].latency for setting in settings],
                operators[index],
                trials[pair.name].agreement if pair.name in trials else None,
            )
            for index, pair in enumerate(pairs)
        ],
        comparisons=[
            comparison
            for setting in settings
            for comparison in _comparisons([one.name for one in pairs], measured[setting])
        ],
        matrix_rates=rates,
        soaks=soaks,
        failed=failed,
        fastest=fastest_of(pairs, measured[settings[0]], trials, options.groups),
    )


def _trials(
    worker: Worker, pairs: Sequence[Pair], jobs: Mapping[str, Sequence[Job]]
) -> dict[str, Trial]:
    """Try the pairs that are not ONNX Runtime's with an ONNX file."""
    others = [one for one in pairs if not one.is_reference]
    if not others:
        return {}
    from kdtool.edge.targets.agreement import try_pairs  # slow, and only needed here

    references = {
        path: replace(
            jobs[one.name][0],
            path=str(path),
            runtime="onnxruntime",
            provider="cpu",
            facts=facts_of(path),
        )
        for one in others
        for path in [one.source]
    }
    return try_pairs(worker, others, jobs, references)


def with_budgets(report: ProfileReport, limits: Mapping[str, float]) -> ProfileReport:
    """Return a profile with a check of each file against each budget.

    Args:
        report: The profile.
        limits: By key of `[device]`, without `max_drop`.
    """
    sizes = {model.path: model.size_bytes for model in report.models}
    timings: dict[str, list[Latency]] = {path: [] for path in sizes}  # in all runtimes
    for model in report.models:
        if model.agreement is None or model.agreement.problem is None:
            timings[model.path] += [model.latency, *model.other_latencies]
    checks = [
        check
        for path, size in sizes.items()
        for check in cost_checks(path, size, [(None, timings[path])], limits)
    ]
    return report.model_copy(update={"budgets": checks})


def gpu_of(providers: Iterable[str]) -> str | None:
    """Return the name of the GPU that one of `providers` uses; None: no GPU, or an unknown one.

    Args:
        providers: Keys of `PROVIDERS` that were used.
    """
    return None if NVIDIA.isdisjoint(providers) else nvidia_gpu()


def _comparisons(names: list[str], measured: list[Measurement]) -> list[Comparison]:
    """Compare all other models with the first, in one setting."""
    comparisons = []
    for name, measurement in zip(names[1:], measured[1:], strict=True):
        ratio, ci95 = ratio_of(measurement, measured[0])
        comparisons.append(
            Comparison(
                of=name,
                against=names[0],
                threads=measurement.latency.threads,
                batch_size=measurement.latency.batch_size,
                ratio=ratio,
                ci95=ci95,
                verdict=speed_phrase(ratio, ci95),
            )
        )
    return comparisons


def _operators(worker: Worker, job: Job) -> list[OperatorTime]:
    """Time single operators; none for OpenVINO, since its profiler counts differently."""
    if job.runtime != "onnxruntime":
        return []
    with scratch_folder() as folder:  # here, so that it is deleted even if the worker is killed
        worker.open(job)
        times = worker.ask("operators", str(folder))["operators"]
        worker.ask("close")
    return [OperatorTime(**fields) for fields in times]


def _model_profile(
    pair: Pair,
    costs: list[GraphCost],
    latencies: list[Latency],
    operators: list[OperatorTime],
    agreement: Agreement | None,
) -> ModelProfile:
    """Combine the results for one file in one runtime.

    Args:
        pair: The file in its runtime.
        costs: For each setting, for its whole batch.
        latencies: For each setting; the first is the main one.
        operators: In the first setting.
        agreement: With ONNX Runtime.
    """
    model = read_model(pair.source)
    num_macs = costs[0].num_macs // latencies[0].batch_size
    first, *others = (
        latency.model_copy(update={"gflop_per_second": _gflop_per_second(cost, latency)})
        for cost, latency in zip(costs, latencies, strict=True)
    )
    return ModelProfile(
        name=pair.name,
        path=str(pair.path),
        sha256=sha256_of(pair.path),
        source_sha256=None if pair.path == pair.source else sha256_of(pair.source),
        size_bytes=pair.size_bytes,
        opset=model_opset(model),
        num_params=costs[0].num_params,
        num_bn_statistics=costs[0].num_bn_statistics,
        num_macs=num_macs,
        num_flops=2 * num_macs,
        partial=bool(costs[0].uncounted_ops),
        uncounted_ops=list(costs[0].uncounted_ops),
        uncounted_params=list(costs[0].uncounted_params),
        uncounted_macs=list(costs[0].uncounted_macs),
        metadata=read_metadata(model),
        agreement=agreement,
        latency=first,
        other_latencies=others,
        operators=operators,
    )


def _gflop_per_second(cost: GraphCost, latency: Latency) -> float | None:
    return 2 * cost.num_macs / latency.p50_ms / 1e6 if cost.num_macs else None
