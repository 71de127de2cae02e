"""Tables of `kdtool profile`: cost, latency, and whether to trust them."""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from kdtool.format import (
    MAC_LINE,
    bounded,
    count,
    csv_text,
    decimals,
    file_size,
    keyboard_text,
    milliseconds,
    percent_number,
    plural,
    short_count,
    three_digits,
)
from kdtool.results.profile import Agreement, Latency, ModelProfile, OperatorTime, ProfileReport
from kdtool.terminal.budget import show_budgets
from kdtool.terminal.findings import (
    Named,
    NamedRuns,
    answer_lines,
    answers_head,
    answers_table,
    fastest_lines,
    soak_lines,
)
from kdtool.terminal.text import ascii_table, print_table, print_text

ENVIRONMENT = ("kdtool", "os", "cpu", "num_cores", "gpu")
MODEL = (
    "name", "path", "sha256", "size_bytes", "opset", "num_params", "num_bn_statistics", "num_macs",
    "num_flops", "partial",
)  # fmt: skip
LISTS = ("uncounted_ops", "uncounted_params", "uncounted_macs")
SPLIT = "p50_ci95_ms"  # the only field with two numbers; it becomes two columns


def profile_csv(report: ProfileReport) -> str:
    """Return the profile as CSV (RFC 4180) with a header; unknown values are empty.

    A file that a runtime could not run has a row with the reason as its `problem`.
    """
    latency = [name for name in Latency.model_fields if name != SPLIT]
    ends = ("p50_lower_ms", "p50_upper_ms")
    agreement = list(Agreement.model_fields)
    header = [*MODEL, *LISTS, *latency, *ends, *ENVIRONMENT, *agreement]
    rows: list[list[object]] = [list(header)]
    for model in report.models:
        for setting in (model.latency, *model.other_latencies):
            rows.append(
                [
                    *_model_cells(model),
                    *(getattr(setting, name) for name in latency),
                    *setting.p50_ci95_ms,
                    *(getattr(report.environment, name) for name in ENVIRONMENT),
                    *(getattr(model.agreement, name, None) for name in agreement),
                ]
            )
    for run in report.failed:
        known = {"name": run.name, "path": run.path, "runtime": run.runtime, "problem": run.reason}
        rows.append([known.get(name) for name in header])
    return csv_text(rows)


def _model_cells(model: ModelProfile) -> list[object]:
    lists = (model.uncounted_ops, model.uncounted_params or [], model.uncounted_macs or [])
    return [*(getattr(model, name) for name in MODEL), *map(" ".join, lists)]


NUM_OPERATORS = 12  # rows; the other operators are added up in one more
BAR_LENGTH = 24  # characters for 100 %


def cost_table(models: Named) -> Table:
    """Return parameters, operations, size, memory and load time of each model."""
    table = ascii_table("model", "parameters", "MACs", "FLOPs", "size", "memory", "load")
    for name, model in models:
        counts = (
            bounded(short_count(model.num_params), at_least=model.params_at_least),
            bounded(short_count(model.num_macs), at_least=model.macs_at_least),
            bounded(short_count(model.num_flops), at_least=model.macs_at_least),
        )
        table.add_row(
            name,
            *map(keyboard_text, counts),
            keyboard_text(file_size(model.size_bytes)),
            _memory(model.latency),
            keyboard_text(milliseconds(model.latency.load_ms)),
        )
    return table


def latency_table(models: Named) -> Table:
    """Return the latency of each model in the first setting."""
    table = ascii_table("model", "p50", "95 % interval", "p90", "p99", "first", "images/s")
    for name, model in models:
        latency = model.latency
        table.add_row(
            name,
            three_digits(latency.p50_ms),
            _interval(latency),
            _percentile(latency.p90_ms),
            _percentile(latency.p99_ms),
            three_digits(latency.first_run_ms),
            _rate(latency),
        )
    return table


def settings_table(models: Named) -> Table:
    """Return the latency of each model in every setting of threads and batch size."""
    table = ascii_table("model", "threads", "batch", "p50", "95 % interval", "images/s", "memory")
    for name, model in models:
        for latency in (model.latency, *model.other_latencies):
            table.add_row(
                name,
                str(latency.threads),
                str(latency.batch_size),
                three_digits(latency.p50_ms),
                _interval(latency),
                _rate(latency),
                _memory(latency),
            )
    return table


def operator_table(operators: Sequence[OperatorTime]) -> Table:
    """Return the time of each operator type, slowest first."""
    table = ascii_table("operator", "nodes", "ms", "share")
    table.add_column("", no_wrap=True)
    for entry in operators[:NUM_OPERATORS]:
        _operator_row(table, entry.op_type, entry.num_nodes, entry.mean_ms, entry.share)
    rest = operators[NUM_OPERATORS:]
    if rest:
        _operator_row(
            table,
            plural(len(rest), "other operator"),
            sum(entry.num_nodes for entry in rest),
            sum(entry.mean_ms for entry in rest),
            sum(entry.share for entry in rest),
        )
    return table


def _operator_row(table: Table, name: str, num_nodes: int, mean_ms: float, share: float) -> None:
    bar = "#" * round(share * BAR_LENGTH)
    cells = (three_digits(mean_ms), f"{percent_number(share)} %", bar)
    table.add_row(escape(name), str(num_nodes), *cells)


def _memory(latency: Latency) -> str:
    memory = latency.model_memory_bytes
    return "-" if memory is None else keyboard_text(file_size(memory))


def _interval(latency: Latency) -> str:
    lower, upper = latency.p50_ci95_ms
    return f"{three_digits(lower)} .. {three_digits(upper)}"


def _percentile(ms: float | None) -> str:
    return "-" if ms is None else three_digits(ms)


def _rate(latency: Latency) -> str:
    return three_digits(latency.images_per_second)


def show_profile(console: Console, report: ProfileReport) -> None:
    """Print a profile.

    Every line fits the terminal, but for long file names, which are not cut. All text is ASCII
    except file names; letters that the terminal lacks are escaped.
    """
    if isinstance(console.file, io.TextIOWrapper):
        console.file.reconfigure(errors="backslashreplace")
    shown = display_names([model.name for model in report.models], console.encoding)
    models: Named = list(zip(shown, report.models, strict=True))
    print_table(console, cost_table(models))
    _print_line(console, f"{keyboard_text(MAC_LINE).removesuffix('.')}; both for one image.")
    _print_line(console, "memory: peak RSS minus that of the runtime without a model.")
    for line in _count_notes(models):
        _print_line(console, line)
    console.print()
    _print_line(console, f"Latency in ms, {_setting(report.models[0].latency)}:")
    print_table(console, latency_table(models))
    if any(model.other_latencies for model in report.models):
        print_table(console, settings_table(models))
    for name, model in models:
        if model.operators:
            _print_line(console, f"Operators of {name} after the runtime has fused them:")
            print_table(console, operator_table(model.operators))
    failed_names = display_names([run.name for run in report.failed], console.encoding)
    failed = list(zip(failed_names, report.failed, strict=True))
    _show_answers(console, models, failed)
    for lines in (
        answer_lines(models, failed),
        _comparisons(models, report),
        _rates(models, report),
        _shares(models),
        _trust(models),
        _soaks(models, report),
        fastest_lines(models, report),
    ):
        for line in lines:
            _print_line(console, line)
    paths = list(dict.fromkeys(model.path for model in report.models))
    names = dict(zip(paths, display_names(paths, console.encoding), strict=True))
    show_budgets(console, report.budgets, names)
    _print_line(console, _provenance(report))
    _print_line(console, f"Measured {plural(len(models), 'model')}. No file was written.")


def _show_answers(console: Console, models: Named, failed: NamedRuns) -> None:
    if table := answers_table(models, failed):
        _print_line(console, f"{answers_head(models)}:")
        print_table(console, table)


def _print_line(console: Console, markup: str) -> None:
    print_text(console, Text.from_markup(markup))


def display_names(names: list[str], encoding: str) -> list[str]:
    """Return the file names in `names`, or the whole paths where two of them are the same.

    Args:
        names: File names of the models.
        encoding: The terminal's; letters that it lacks are escaped.
    """
    short = [Path(name).name for name in names]
    chosen = short if len(set(short)) == len(short) else names
    return [escape(text.encode(encoding, "backslashreplace").decode(encoding)) for text in chosen]


def _count_notes(models: Named) -> Iterator[str]:
    for name, model in models:
        gaps = (("parameters", model.uncounted_params), ("MACs", model.uncounted_macs))
        for kind, operators in gaps:
            if operators:
                which = escape(", ".join(operators))
                yield f"[yellow]>= at least[/]: {name} has {kind} that are not counted: {which}"
        if model.num_bn_statistics:
            number = keyboard_text(short_count(model.num_bn_statistics))
            yield f"{name} has {number} batch-norm statistics in addition to its parameters."


def _comparisons(models: Named, report: ProfileReport) -> Iterator[str]:
    shown = {model.name: name for name, model in models}
    several = any(model.other_latencies for model in report.models)
    for entry in report.comparisons:
        lower, upper = entry.ci95
        threads = plural(entry.threads, "thread")
        setting = f", {threads}, batch {entry.batch_size}" if several else ""
        yield (
            f"{shown[entry.of]} against {shown[entry.against]}{setting}: "
            f"[bold]{escape(entry.verdict)}[/]"
        )
        interval = f"{decimals(lower)} .. {decimals(upper)}"
        yield f"  time ratio {decimals(entry.ratio)}, 95 % interval {interval}"


def _rates(models: Named, report: ProfileReport) -> Iterator[str]:
    """Yield which share of the machine's arithmetic rate each model reaches."""
    threads = report.models[0].latency.threads
    most = {rate.threads: rate.gflop_per_second for rate in report.matrix_rates}.get(threads)
    rates = [
        (name, model.latency.gflop_per_second, model.macs_at_least)
        for name, model in models
        if model.latency.provider == "cpu"  # the rate was measured on the CPU
    ]
    if most is None or all(rate is None for _, rate, _ in rates):
        return
    yield (
        f"Of the {three_digits(most)} GFLOP/s that this machine reaches in float32 matrix products "
        f"with {plural(threads, 'thread')}, the models reach:"
    )
    for name, rate, at_least in rates:
        if rate is not None:
            reached = keyboard_text(bounded(three_digits(rate), at_least=at_least))
            share = f"{percent_number(rate / most, 0)} %"
            yield f"  {name}: {reached} GFLOP/s, {share}"


def _shares(models: Named) -> Iterator[str]:
    for name, model in models:
        share = model.latency.provider_share
        if share is not None and share < 1:
            yield (
                f"{name}: {model.latency.provider} ran {percent_number(share, 0)} % of the "
                "operators, the CPU the others"
            )


def _soaks(models: Named, report: ProfileReport) -> Iterator[str]:
    shown = {model.name: name for name, model in models}
    for one in report.soaks:
        yield from soak_lines(shown[one.name], one)


def _trust(models: Named) -> Iterator[str]:
    known = True
    noisy: dict[str, list[str]] = {}  # reason -> models
    for name, model in models:
        for latency in (model.latency, *model.other_latencies):
            known = known and latency.other_cores is not None
            if latency.noise:
                where = f" ({_setting(latency)})" if model.other_latencies else ""
                noisy.setdefault(latency.noise, []).append(f"{name}{where}")
    for note, which in noisy.items():
        yield f"[yellow]noisy[/]: {', '.join(which)}: {escape(note)}"
    if noisy:
        yield "  do not trust these times: close other programs or measure longer"
    elif known:
        yield "[green]quiet[/]: no other program disturbed the measurement"
    else:
        yield "steady, but this system does not report whether other programs were busy"


def _setting(latency: Latency) -> str:
    threads = plural(latency.threads, "thread")
    return f"{threads}, batch {latency.batch_size}, {latency.provider}"


def _provenance(report: ProfileReport) -> str:
    env = report.environment
    pinned = {model.latency.runtime: model.latency.arithmetic for model in report.models}
    runtimes = [
        f"{name} {version}" + (f" in {arithmetic}" if arithmetic else "")
        for runtime, arithmetic in pinned.items()
        for name, version in env.packages.items()
        if name == runtime or name.startswith(f"{runtime}-")
    ]
    runs = [model.latency.num_runs for model in report.models]
    features = f" ({', '.join(env.cpu_features)})" if env.cpu_features else ""
    parts = [
        _setting(report.models[0].latency),
        f"at least {count(min(runs))} runs per model",
        *runtimes,
        f"{env.cpu}{features}",
        plural(env.num_cores, "core"),
        *([env.gpu] if env.gpu else []),
    ]
    return escape("; ".join(parts)) + "."
