"""Pictures as the page holds them: in itself, as addresses, beside what is known of them."""

import base64

from kdtool.report import duplicates
from kdtool.report.saliency import Picture, Saliency, png_of
from kdtool.results import Results


def explained_pictures(results: Results, saliency: Saliency) -> list[dict[str, object]]:
    """Return one row an explained image: its record, and the address of every picture."""
    records = results.explain.images if results.explain else []
    return [
        {
            "record": record,
            "input": _data_url(saliency.images[row]),
            "heatmaps": {role: _data_url(maps[row]) for role, maps in saliency.heatmaps.items()},
        }
        for row, record in enumerate(records)
    ]


def thumbnails(results: Results, shown: dict[int, Picture]) -> dict[int, dict[str, object]]:
    """Return what is known of every image that is shown, each once on the page."""
    records = results.gallery.images if results.gallery else []
    return {
        record.index: {
            "record": record,
            "url": _data_url(shown[record.index]),
            "height": shown[record.index].shape[0],
            "width": shown[record.index].shape[1],
        }
        for record in records
    }


def twin_pictures(
    results: Results, twins: list[list[tuple[Picture, Picture]]]
) -> list[tuple[str, list[list[dict[str, str]]]]]:
    """Return the pairs of images that stand in two splits: name and address of each."""
    if not twins:
        return []
    return [
        (
            title,
            [
                [{"name": name, "url": _data_url(one)} for name, one in zip(*pair, strict=True)]
                for pair in zip(names, pictures, strict=True)
            ],
        )
        for (title, names), pictures in zip(duplicates.names(results.data), twins, strict=True)
    ]


def _data_url(picture: Picture) -> str:
    return f"data:image/png;base64,{base64.b64encode(png_of(picture)).decode()}"
