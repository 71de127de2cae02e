"""Saliency maps as pictures and as a page of HTML that needs no other file."""

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kdtool.edge.explain.maps import Pixels
from kdtool.format import percent, printable, probability
from kdtool.results.explained import ExplainedFile, ExplainFilesReport

# Nine colours of matplotlib's inferno (CC0), which brightens evenly from black to yellow.
INFERNO = (
    (0, 0, 4), (27, 12, 65), (74, 12, 107), (120, 28, 109), (165, 44, 96), (207, 68, 70),
    (237, 105, 37), (251, 155, 6), (252, 255, 164),
)  # fmt: skip
BACKDROP = 0.3  # brightness of the image behind its map
SHOWN_SIDE = 224  # pixels; smaller pictures are enlarged without smoothing

CURVES = (
    "Deletion and insertion: the mean probability of the class while the pixels are replaced with "
    "the mean colour, or shown, in the order of the map. A faithful map has a low deletion and a "
    "high insertion, compared with a random order."
)

Shown = Sequence[tuple[ExplainedFile, Pixels, Pixels]]  # record, image, map over the image


def picture_of(heatmap: NDArray[np.floating], image: Pixels) -> Pixels:
    """Return a map `(H, W)` over its dimmed image `(H, W, C)`, RGB `(H, W, 3)`.

    The brightest colour is the highest value; what is 0 or below is black. A map without a value
    above 0 is the dimmed image alone.
    """
    highest = float(heatmap.max())
    heat = np.clip(heatmap, 0, None) / highest if highest > 0 else np.zeros_like(heatmap)
    places = np.linspace(0, 1, len(INFERNO))
    colours = np.array(INFERNO, np.float64) / 255
    rgb = np.stack([np.interp(heat, places, colours[:, c]) for c in range(3)], axis=-1)
    backdrop = BACKDROP * image.mean(axis=2, keepdims=True) / 255
    return np.asarray(np.rint(255 * (1 - (1 - rgb) * (1 - backdrop))), dtype=np.uint8)


def save_picture(path: Path, pixels: Pixels) -> None:
    """Write pixels `(H, W, 1 or 3)` as PNG."""
    path.write_bytes(_png(pixels))


def _png(pixels: Pixels) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels.squeeze(axis=2) if pixels.shape[2] == 1 else pixels).save(stream, "PNG")
    return stream.getvalue()


def _data_url(pixels: Pixels) -> str:
    return f"data:image/png;base64,{base64.b64encode(_png(pixels)).decode()}"


STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
ul { list-style: none; padding: 0; display: grid; gap: 1.5rem;
     grid-template-columns: repeat(auto-fill, minmax(min(100%, 28rem), 1fr)); }
figure { margin: 0; } figcaption { overflow-wrap: anywhere; }
.pair { display: flex; gap: .5rem; } .pair img { flex: 1; min-width: 0; width: 50%; }
.small { image-rendering: pixelated; } .note { opacity: .85; }
"""


def page(report: ExplainFilesReport, shown: Shown) -> str:
    """Return the page.

    Args:
        report: All results.
        shown: Those with a map.
    """
    masks = "" if report.num_masks is None else f" with {report.num_masks:,} masks"
    how = {
        "occlusion": "Bright: covering this place lowers the probability of the class.",
        "rise": "Bright: keeping this place, under random masks, raises the probability.",
    }[report.method]
    items = "\n".join(_item(*one) for one in shown)
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Saliency of {_text(Path(report.model).name)}</title>
<style>{STYLE}</style>
<main>
<h1>Saliency of {_text(Path(report.model).name)}</h1>
<p>{report.method.capitalize()}{masks}. {how} {CURVES}</p>
<ul>
{items}
</ul>
</main>
</html>
"""


def _item(record: ExplainedFile, image: Pixels, overlay: Pixels) -> str:
    style = ' class="small"' if image.shape[0] < SHOWN_SIDE else ""
    name = _text(Path(record.path).name)
    pictures = "".join(
        f'<img{style} alt="{alt}" src="{_data_url(one)}">'
        for alt, one in ((name, image), (f"Saliency of {name}", overlay))
    )
    lines = [f"<b>{name}</b>: {_text(record.predicted)} {percent(record.probability or 0)}"]
    if record.explained != record.predicted:
        lines.append(
            f"explained: {_text(record.explained)} {percent(record.explained_probability or 0)}"
        )
    if record.is_constant:
        lines.append("the answer depends on no single place")
    lines.append(
        f"deletion {probability(record.deletion or 0)} (random "
        f"{probability(record.random_deletion or 0)}), insertion "
        f"{probability(record.insertion or 0)} (random {probability(record.random_insertion or 0)})"
    )
    text = "<br>".join(lines)
    return (
        f'<li><figure><div class="pair">{pictures}</div><figcaption>{text}</figcaption>'
        "</figure></li>"
    )


def _text(name: str | None) -> str:
    return escape(printable(name or ""))
