"""What a long run showed, in lines: `kdtool profile --soak`."""

from collections.abc import Iterator

from kdtool.format import count, decimals, plural, three_digits
from kdtool.results.profile import Soak, Trend


def soak_lines(name: str, soak: Soak) -> Iterator[str]:
    """Yield what a long run showed, as markup.

    Args:
        name: Of the model, as it is shown.
        soak: The run.
    """
    minutes = f"{three_digits(soak.minutes)} minute{'' if soak.minutes == 1 else 's'}"
    yield f"{name}, {minutes} without a pause, {count(soak.num_runs)} runs:"
    yield f"  {_memory(soak.memory_bytes_per_hour)}"
    slowest = max(point.max_ms for point in soak.points)
    yield f"  {_time(soak)}; slowest run {three_digits(slowest)} ms"
    hottest = [one.temperature_c for one in soak.points if one.temperature_c is not None]
    clocks = [one.clock_mhz for one in soak.points if one.clock_mhz is not None]
    if hottest:
        first, most = f"{hottest[0]:.0f}", f"{max(hottest):.0f}"
        yield f"  temperature: {first} degrees Celsius at first, at most {most}"
    if clocks:
        yield f"  clock: {clocks[0]:.0f} MHz at first, at least {min(clocks):.0f}"
    if soak.num_throttled:
        times = plural(soak.num_throttled, "time")
        yield f"  [bold red]throttled[/] {times}: a core was slowed because it was hot"


def _memory(growth: Trend | None) -> str:
    if growth is None:
        return "memory: too short to say, or this system does not report it"
    low, high = (three_digits(end / 1e6) for end in growth.ci95)
    found = "[bold red]grows[/]" if growth.ci95[0] > 0 else "does not measurably grow"
    value = three_digits(growth.value / 1e6)
    return f"memory {found}: {value} MB an hour (95 % interval {low} to {high})"


def _time(soak: Soak) -> str:
    if soak.slower_by is None or soak.verdict is None:
        return "time: too short to say whether it changes"
    low, high = (decimals(end) for end in soak.slower_by.ci95)
    ratio = f"{decimals(soak.slower_by.value)} of that at the start ({low} to {high})"
    return f"time at the end: {soak.verdict}, {ratio}"
