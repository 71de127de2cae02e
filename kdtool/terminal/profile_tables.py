"""The tables of a profile; each fits 80 columns by folding the names of files."""

from collections.abc import Sequence

from rich import box
from rich.markup import escape
from rich.table import Table

from kdtool.profiles import Latency, ModelProfile, OperatorTime

NUM_OPERATORS = 12  # shown; the others are one row
BAR_LENGTH = 24  # characters of a whole run
PLAIN = box.Box("    \n    \n -- \n" + 5 * "    \n", ascii=True)  # a line below the header

Named = Sequence[tuple[str, ModelProfile]]  # each model with the name that is shown


def cost_table(models: Named) -> Table:
    """Return what models cost whatever the device, and the memory of a run."""
    table = _table("model", "parameters", "MACs", "FLOPs", "size", "memory", "load")
    for name, model in models:
        prefix = ">= " if model.partial else ""
        counts = (model.num_params, model.num_macs, model.num_flops)
        table.add_row(
            name,
            *(prefix + format_count(count) for count in counts),
            format_count(model.size_bytes, "B"),
            _memory(model.latency),
            f"{format_ms(model.latency.load_ms)} ms",
        )
    return table


def latency_table(models: Named) -> Table:
    """Return how fast models are in the first setting."""
    table = _table("model", "p50", "95 % interval", "p90", "p99", "first", "images/s")
    for name, model in models:
        latency = model.latency
        table.add_row(
            name,
            format_ms(latency.p50_ms),
            _interval(latency),
            _percentile(latency.p90_ms),
            _percentile(latency.p99_ms),
            format_ms(latency.first_run_ms),
            _rate(latency),
        )
    return table


def settings_table(models: Named) -> Table:
    """Return how fast models are in every setting of threads and batch size."""
    table = _table("model", "threads", "batch", "p50", "95 % interval", "images/s", "memory")
    for name, model in models:
        for latency in (model.latency, *model.other_latencies):
            table.add_row(
                name,
                str(latency.threads),
                str(latency.batch_size),
                format_ms(latency.p50_ms),
                _interval(latency),
                _rate(latency),
                _memory(latency),
            )
    return table


def operator_table(operators: Sequence[OperatorTime]) -> Table:
    """Return where the time of a run goes, slowest first."""
    table = _table("operator", "nodes", "ms", "share")
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
    table.add_row(escape(name), str(num_nodes), format_ms(mean_ms), f"{100 * share:.1f} %", bar)


def _table(first: str, *columns: str) -> Table:
    table = Table(box=PLAIN, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _memory(latency: Latency) -> str:
    if latency.peak_memory_bytes is None or latency.runtime_memory_bytes is None:
        return "-"
    return format_count(max(0, latency.peak_memory_bytes - latency.runtime_memory_bytes), "B")


def _interval(latency: Latency) -> str:
    lower, upper = latency.p50_ci95_ms
    return f"{format_ms(lower)} .. {format_ms(upper)}"


def _percentile(ms: float | None) -> str:
    return "-" if ms is None else format_ms(ms)


def _rate(latency: Latency) -> str:
    rate = latency.images_per_second
    return f"{rate:,.0f}" if rate >= 99.95 else f"{rate:.3g}"


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


def plural(count: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
