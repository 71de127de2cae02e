"""A profile for a person: what models cost, how fast they are, and whether to believe it."""

import io
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from kdtool.profiles import Latency, ModelProfile, ProfileReport
from kdtool.terminal.profile_tables import (
    cost_table,
    format_count,
    latency_table,
    operator_table,
    plural,
    settings_table,
)

Named = list[tuple[str, ModelProfile]]  # each model with the name that is shown


def show_profile(console: Console, report: ProfileReport) -> None:
    """Print a profile.

    Every line fits 80 columns; long file names are folded. All is ASCII, but for file names, whose
    letters are escaped where the terminal lacks them.
    """
    if isinstance(console.file, io.TextIOWrapper):
        console.file.reconfigure(errors="backslashreplace")
    shown = display_names([model.name for model in report.models], console.encoding)
    models: Named = list(zip(shown, report.models, strict=True))
    console.print(cost_table(models))
    console.print("1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs; both for one image.")
    console.print("memory: the most at once, over that of the empty runtime.")
    for line in _count_notes(models):
        console.print(line)
    console.print()
    console.print(f"Time of a run in ms, {_setting(report.models[0].latency)}:")
    console.print(latency_table(models))
    if any(model.other_latencies for model in report.models):
        console.print(settings_table(models))
    for name, model in models:
        if model.operators:
            console.print(f"Operators of {name}, as the runtime fused them:")
            console.print(operator_table(model.operators))
    for lines in (
        _comparisons(models, report),
        _rates(models, report),
        _shares(models),
        _trust(models),
    ):
        for line in lines:
            console.print(line, highlight=False)
    console.print(_provenance(report), highlight=False)


def display_names(names: list[str], encoding: str) -> list[str]:
    """Return the file names in `names`, or the whole paths where two of them are the same.

    Args:
        names: Of models.
        encoding: Of the terminal; letters that it lacks are escaped.
    """
    short = [Path(name).name for name in names]
    chosen = short if len(set(short)) == len(short) else names
    return [escape(text.encode(encoding, "backslashreplace").decode(encoding)) for text in chosen]


def _count_notes(models: Named) -> Iterator[str]:
    for name, model in models:
        if model.partial:
            ops = escape(", ".join(model.uncounted_ops))
            yield f"[yellow]>= at least[/]: {name} has operators without a count: {ops}"
        if model.num_bn_statistics:
            count = format_count(model.num_bn_statistics)
            yield f"{name} has {count} running statistics of batch norm besides its parameters."


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
        yield f"  time ratio {entry.ratio:.3f}, 95 % interval {lower:.3f} .. {upper:.3f}"


def _rates(models: Named, report: ProfileReport) -> Iterator[str]:
    """How much of what this machine could do each model makes of it."""
    threads = report.models[0].latency.threads
    most = {rate.threads: rate.gflop_per_second for rate in report.matrix_rates}.get(threads)
    rates = [
        (name, model.latency.gflop_per_second, model.partial)
        for name, model in models
        if model.latency.provider == "cpu"  # whose rate it is
    ]
    if most is None or all(rate is None for _, rate, _ in rates):
        return
    yield (
        f"With {plural(threads, 'thread')} this machine reaches {most:.3g} GFLOP/s in float32 "
        "matrix products; of that reach"
    )
    for name, rate, partial in rates:
        if rate is not None:
            at_least = ">= " if partial else ""
            yield f"  {name}: {at_least}{rate:.3g} GFLOP/s, {100 * rate / most:.0f} %"


def _shares(models: Named) -> Iterator[str]:
    for name, model in models:
        share = model.latency.provider_share
        if share is not None and share < 1:
            yield (
                f"{name}: {model.latency.provider} ran {100 * share:.0f} % of its operators, the "
                "processor those that it lacks"
            )


def _trust(models: Named) -> Iterator[str]:
    known = True
    noisy: dict[str, list[str]] = {}  # why -> which
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
        yield "[green]quiet[/]: nothing else disturbed the measuring"
    else:
        yield "steady; but this system does not tell whether other programs were busy"


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
        f"at least {min(runs):,} runs a model",
        *runtimes,
        f"{env.cpu}{features}",
        plural(env.num_cores, "core"),
        *([env.gpu] if env.gpu else []),
    ]
    return escape("; ".join(parts)) + "."
