"""Records of what `kdtool profile` measures, on any device.

1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs. Intervals are 95 %.
"""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from kdtool.results.base import SCHEMA, Interval, Record
from kdtool.results.decision import BudgetCheck

# The first four read ONNX files; the others run what `kdtool export --for` converted
Runtime = Literal["onnxruntime", "openvino", "opencv", "tract", "ncnn", "executorch", "litert"]


class Environment(Record):
    """Machine and software that results were made with."""

    kdtool: str  # version
    python: str  # version
    packages: dict[str, str]  # name to version
    os: str  # name and version of the operating system
    cpu: str  # name of the processor
    cpu_features: list[str]  # those that decide how fast int8 and bfloat16 are
    num_cores: int  # that this process may use
    memory_bytes: int | None  # of the machine; None: unknown
    gpu: str | None  # name of the GPU that was used; None: none


class TrainingCluster(Record):
    """A Ray cluster that trained a model, as it was when the command began."""

    num_nodes: int  # machines
    num_workers: int  # models that trained at a time, on all nodes together
    num_threads: int  # of PyTorch, for each model


class Latency(Record):
    """Time of one run of a model in one setting, and the memory that it took."""

    runtime: Runtime  # that ran the file
    arithmetic: str | None = None  # precision that the runtime was forced to; None: the file's own
    threads: PositiveInt  # that the runtime may use
    provider: str  # execution provider
    provider_share: float | None = None  # of the nodes, that ran there; None: unknown
    batch_size: PositiveInt  # images of one run
    num_runs: PositiveInt  # timed runs
    p50_ms: PositiveFloat  # median time of one run
    # Of the median; block bootstrap, as successive runs are not independent
    p50_ci95_ms: tuple[PositiveFloat, PositiveFloat]
    p90_ms: PositiveFloat | None  # None: fewer than 64 runs
    p95_ms: PositiveFloat | None  # None: fewer than 130 runs
    p99_ms: PositiveFloat | None  # None: fewer than 662 runs
    min_ms: PositiveFloat  # fastest run
    mean_ms: PositiveFloat  # mean of the runs
    images_per_second: PositiveFloat  # from the mean
    load_ms: float  # making the session, in a process that has run another one before
    first_run_ms: float  # the first run, which warms up
    peak_memory_bytes: int | None  # resident, of the process that ran it; None: unknown
    runtime_memory_bytes: int | None  # the same with next to no model
    gflop_per_second: float | None = None  # FLOPs of a run / p50; None: not counted
    other_cores: float | None = None  # that other processes kept busy; None: unknown
    noise: str | None = None  # why the figures should not be trusted; None: no sign of it

    @property
    def model_memory_bytes(self) -> int | None:
        """Peak memory minus that of the runtime without a model; None: unknown."""
        if self.peak_memory_bytes is None or self.runtime_memory_bytes is None:
            return None
        return max(0, self.peak_memory_bytes - self.runtime_memory_bytes)


class OperatorTime(Record):
    """What all nodes of one operator take in one run, as the runtime's own profiler sees it."""

    op_type: str  # of the graph that the runtime made of the file: fused, reordered
    num_nodes: int
    mean_ms: float  # the profiler slows small operators down
    share: float  # of the time of all operators


class MatrixRate(Record):
    """What this machine reaches in float32 matrix products, in the same runtime."""

    threads: int
    gflop_per_second: float


class Agreement(Record):
    """Whether a runtime gives the answers of ONNX Runtime, by the rule of `kdtool export --for`."""

    num_golden: int  # golden images of a kit or target that were compared
    num_patterns: int  # random patterns that were compared, too
    num_flipped: int | None  # images that get another class, ties excluded; None: no answers
    num_ties: int  # images with another class within rounding
    max_difference: float | None  # of a probability; None: no answers, or some are not finite
    problem: str | None  # how its answers differ; None: they agree


class ModelProfile(Record):
    """What one file costs in one runtime, whoever made it."""

    name: str  # the path, and the runtime where it is not onnxruntime
    path: str
    sha256: str  # of the file at `path` itself
    # Of the ONNX file that it was converted from, to which the counts belong; None: it is that file
    source_sha256: str | None = None
    size_bytes: int  # with the external files of its weights
    opset: int  # of the ONNX file
    num_params: int
    num_bn_statistics: int  # running means and variances, not among num_params
    num_macs: int  # of one image; bias, norm, activation not counted
    num_flops: int  # 2 x num_macs
    partial: bool  # a count is a lower bound: something of an operator is not counted
    uncounted_ops: list[str]  # these operators
    # Those of them with parameters that are not counted; None: of an older kdtool, perhaps all
    uncounted_params: list[str] | None = None
    # Those of them whose MACs are not counted; None: of an older kdtool, perhaps all
    uncounted_macs: list[str] | None = None
    metadata: dict[str, object]  # written by kdtool if it made the file
    # With ONNX Runtime and the ONNX file; None: it is these, or no classifier of kdtool's form
    agreement: Agreement | None = None
    latency: Latency  # in the first setting of threads and batch size
    other_latencies: list[Latency]  # in the other settings
    operators: list[OperatorTime]  # slowest first; empty without `--ops`

    @property
    def params_at_least(self) -> bool:
        """Whether `num_params` is a lower bound."""
        return self.partial if self.uncounted_params is None else bool(self.uncounted_params)

    @property
    def macs_at_least(self) -> bool:
        """Whether `num_macs` and `num_flops` are lower bounds."""
        return self.partial if self.uncounted_macs is None else bool(self.uncounted_macs)


class Comparison(Record):
    """How fast one model is compared with another; both were timed in turn."""

    of: str  # name
    against: str  # name
    threads: int
    batch_size: int
    ratio: float  # time of `of` / time of `against`
    ci95: Interval
    verdict: str  # such as "2.09 times faster"; see `kdtool.stats.speed`


class FailedRun(Record):
    """A file that a runtime could not run; the others were measured."""

    name: str  # the path, and the runtime where it is not onnxruntime
    path: str
    runtime: Runtime
    reason: str  # why


class Fastest(Record):
    """The fastest of the runtimes and files that may be used, in the first setting."""

    among: str  # a role of the study, all of whose accurate files compete; or the path of one file
    name: str  # of the fastest model
    p50_ms: float  # its median time of one run
    against: str  # name of the fastest model in ONNX Runtime
    ratio: float | None  # time of `name` / time of `against`, in turn; None: they are the same
    ci95: Interval | None  # of `ratio`
    # Such as "1.20 times faster", see `kdtool.stats.speed`; None: they are the same
    verdict: str | None
    noise: str | None  # why these times should not be trusted; None: no sign


class Trend(Record):
    """A change, estimated from a series."""

    value: float  # estimate
    ci95: Interval  # allows for neighbours that resemble each other


class SoakPoint(Record):
    """What was seen in one stretch of a long run."""

    seconds: float  # from the start of the run to the end of the stretch
    p50_ms: float  # median time of its runs
    max_ms: float  # slowest of its runs
    memory_bytes: int | None  # resident, after it; None: unknown
    temperature_c: float | None  # of the hottest sensor; None: none is reported
    clock_mhz: float | None  # mean of the cores; None: not reported


class Soak(Record):
    """One file, run without a pause: `kdtool profile --soak`."""

    name: str  # the path, and the runtime where it is not onnxruntime
    minutes: float  # as asked
    num_runs: int
    # Growth of the resident memory; None: unknown, or too few points
    memory_bytes_per_hour: Trend | None
    slower_by: Trend | None  # time at the end / time at the start, by the trend; None: as above
    verdict: str | None  # of that ratio, such as "1.05 times slower"; see `kdtool.stats.speed`
    num_throttled: int | None  # times that a core was slowed because it was hot; None: unknown
    points: list[SoakPoint]  # in order, at most 120


class ProfileReport(Record):
    """The result of `kdtool profile`."""

    schema_version: Literal[1] = Field(default=SCHEMA, alias="schema")
    environment: Environment
    models: list[ModelProfile]  # in the order given
    comparisons: list[Comparison]  # of each further model against the first, in every setting
    matrix_rates: list[MatrixRate]  # one for each number of threads
    budgets: list[BudgetCheck] = Field(default=[])  # one for each file and `--budget`
    soaks: list[Soak] = Field(default=[])  # one for each model, with `--soak`
    failed: list[FailedRun] = Field(default=[])  # files that a runtime could not run
    # Of the accurate files of a study, or of each file; empty where one runtime was measured
    fastest: list[Fastest] = Field(default=[])
