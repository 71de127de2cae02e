"""Which runtime and file is the fastest here, among those that give the right answers."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kdtool.edge.latency.measure import Measurement, ratio_of
from kdtool.edge.targets.pairs import Pair, Trial
from kdtool.results.profile import Fastest
from kdtool.stats.speed import speed_phrase


def fastest_of(
    pairs: Sequence[Pair],
    measured: Sequence[Measurement],
    trials: Mapping[str, Trial],
    groups: Mapping[str, Sequence[Path]],
) -> list[Fastest]:
    """Return the fastest pair of each group, compared with its fastest in ONNX Runtime.

    Args:
        pairs: That were timed.
        measured: One for each pair, timed in turn.
        trials: By name of the pair, of those that are not ONNX Runtime's.
        groups: ONNX files that may be exchanged for each other, by what they are called; a group
            without a file that ONNX Runtime ran has no fastest.
    """
    found = []
    for among, paths in groups.items():
        usable = [
            (one, pair)
            for one, pair in zip(measured, pairs, strict=True)
            if pair.source in paths and _agrees(pair, trials)
        ]
        references = [(one, pair) for one, pair in usable if pair.is_reference]
        if references:
            best, against = (
                min(few, key=lambda one: one[0].latency.p50_ms) for few in (usable, references)
            )
            found.append(_fastest(among, best, against))
    return found


def _agrees(pair: Pair, trials: Mapping[str, Trial]) -> bool:
    if pair.is_reference:
        return True
    agreement = trials[pair.name].agreement
    return agreement is not None and agreement.problem is None


def _fastest(
    among: str, best: tuple[Measurement, Pair], against: tuple[Measurement, Pair]
) -> Fastest:
    is_same = best[1] is against[1]
    ratio, ci95 = (None, None) if is_same else ratio_of(best[0], against[0])
    return Fastest(
        among=among,
        name=best[1].name,
        p50_ms=best[0].latency.p50_ms,
        against=against[1].name,
        ratio=ratio,
        ci95=ci95,
        verdict=None if ratio is None or ci95 is None else speed_phrase(ratio, ci95),
        noise=best[0].latency.noise or against[0].latency.noise,
    )
