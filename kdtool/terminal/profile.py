"""A profile as tables for a person."""

from pathlib import Path

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kdtool.profiles import ModelProfile, ProfileReport


def show_profile(console: Console, report: ProfileReport) -> None:
    """Print what models cost, how fast they are, and whether to believe it.

    Every line fits 80 columns, but for long file names, which are folded. All is ASCII, so that it
    prints on any terminal.
    """
    names = display_names([model.path for model in report.models])
    console.print(_cost_table(names, report.models))
    console.print("1 MAC = 1 multiply + 1 add; FLOPs = 2 x MACs; both for one image.")
    for name, model in zip(names, report.models, strict=True):
        if model.partial:
            ops = escape(", ".join(model.uncounted_ops))
            console.print(f"[yellow]at least[/]: {name} has operators without a count: {ops}")
    console.print()
    console.print(_latency_table(names, report.models))
    latency = report.models[0].latency
    env = report.environment
    runtime = " ".join(
        f"{name} {version}" for name, version in env.packages.items() if "runtime" in name
    )
    console.print(
        f"{_plural(latency.threads, 'thread')}, batch {latency.batch_size}, {latency.provider}; "
        f"{escape(runtime)}; {escape(env.cpu)}, {_plural(env.num_cores, 'core')}."
    )
    for comparison in report.comparisons:
        lower, upper = comparison.ci95
        of, against = display_names([comparison.of, comparison.against])
        console.print(f"{of} against {against}: [bold]{escape(comparison.verdict)}[/]")
        console.print(
            f"  time ratio {comparison.ratio:.3f}, 95 % interval {lower:.3f} .. {upper:.3f}"
        )
    for name, model in zip(names, report.models, strict=True):
        if model.latency.noise:
            console.print(
                f"[yellow]noisy[/]: {name}: {escape(model.latency.noise)}; "
                "close other programs or measure longer"
            )


def display_names(paths: list[str]) -> list[str]:
    """Return the file names of `paths`, or the whole paths where two names are the same."""
    names = [Path(path).name for path in paths]
    return [escape(text) for text in (names if len(set(names)) == len(names) else paths)]


def _cost_table(names: list[str], models: list[ModelProfile]) -> Table:
    table = _table("parameters", "MACs", "FLOPs", "size")
    for name, model in zip(names, models, strict=True):
        prefix = "at least " if model.partial else ""
        counts = (model.num_params, model.num_macs, model.num_flops)
        size = format_count(model.size_bytes, "B")
        table.add_row(name, *(prefix + format_count(count) for count in counts), size)
    return table


def _latency_table(names: list[str], models: list[ModelProfile]) -> Table:
    table = _table("p50 ms", "95 % interval", "p90 ms", "first ms", "images/s")
    for name, model in zip(names, models, strict=True):
        latency = model.latency
        lower, upper = latency.p50_ci95_ms
        table.add_row(
            name,
            format_ms(latency.p50_ms),
            f"{format_ms(lower)} .. {format_ms(upper)}",
            "-" if latency.p90_ms is None else format_ms(latency.p90_ms),
            format_ms(latency.first_run_ms),
            f"{1000 * latency.batch_size / latency.mean_ms:,.0f}",
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("model", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def format_count(count: int, unit: str = "") -> str:
    """Return a count with two decimals and k, M, G or T for its thousands, and its unit."""
    for exponent, letter in ((12, "T"), (9, "G"), (6, "M"), (3, "k")):
        if count >= 10**exponent:
            return f"{count / 10**exponent:.2f} {letter}{unit}"
    return f"{count} {unit}".rstrip()


def format_ms(ms: float) -> str:
    """Return milliseconds to three significant digits, without an exponent."""
    if ms >= 99.95:
        return f"{ms:,.0f}"
    return f"{ms:#.3g}" if ms >= 0.001 else f"{ms:.6f}"


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
