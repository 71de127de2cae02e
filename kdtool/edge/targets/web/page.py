"""The page in its two forms: one HTML file with everything inside, and a folder for a server."""

import base64
import gzip
import hashlib
import html
import json
import re
import zlib
from importlib.resources import files
from string import Template

from kdtool.edge.targets.web.runtime import JAVASCRIPT, WASM, WebRuntime
from kdtool.errors import KdtoolError

# In the order in which one file holds them: each imports only from those before it.
MODULES = ("resize.js", "png.js", "picture.js", "classifier.js", "app.js")
STYLE = "style.css"
LATE = {
    "site": "Still loading? A page in a folder needs a server: opened from the disk, browsers do "
    "not load its files. See README.md.",
    "file": "Still loading? This takes a few seconds on a slow device. The browser must be of 2023 "
    "or newer.",
}


def site_files(
    facts: dict[str, object], shown: dict[str, str], runtime: WebRuntime
) -> dict[str, bytes]:
    """Return the files of the folder for a server, without the model and the golden images.

    Args:
        facts: For the scripts, see `page_facts`.
        shown: For the reader: what "About this file" lists.
        runtime: Of the model.
    """
    document = _document(
        facts,
        shown,
        late=LATE["site"],
        style=f'<link rel="stylesheet" href="{STYLE}">',
        scripts='<script type="module" src="app.js"></script>',
        csp=_policy(script="'self'", style="'self'", connect="'self'"),
    )
    return {
        "index.html": document.encode(),
        STYLE: _source(STYLE).encode(),
        **{name: _source(name).encode() for name in MODULES},
        JAVASCRIPT: runtime.javascript,
        WASM: runtime.wasm,
        "page.json": json_bytes(facts),
    }


def one_file(
    facts: dict[str, object],
    shown: dict[str, str],
    runtime: WebRuntime,
    content: dict[str, bytes],
) -> bytes:
    """Return the page as one HTML file that opens from the disk.

    Args:
        facts: For the scripts.
        shown: For the reader.
        runtime: Of the model.
        content: Name, as in the folder for a server -> bytes: the model and the golden images.
    """
    blocks = {WASM: runtime.wasm, "page.json": json_bytes(facts), **content}
    style, scripts = _source(STYLE), [_as_global(runtime), _joined_modules()]
    tags = [_data_block(name, data) for name, data in blocks.items()]
    tags += [f'<script type="module">{script}</script>' for script in scripts]
    document = _document(
        facts,
        shown,
        late=LATE["file"],
        style=f"<style>{style}</style>",
        scripts="\n".join(tags),
        csp=_policy(
            script=" ".join(map(_hash, scripts)),
            style=_hash(style),
            connect="'none'",
        ),
    )
    return document.encode()


def json_bytes(document: object) -> bytes:
    """Return a document as JSON with one line for each value."""
    text = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1)
    return (text + "\n").encode()


def adler32(pixels: bytes) -> int:
    """Return the checksum by which the page knows that a browser did not change pixels."""
    return zlib.adler32(pixels)


def _source(name: str) -> str:
    return files("kdtool.edge.targets.web").joinpath("page", name).read_text(encoding="utf-8")


def _document(
    facts: dict[str, object],
    shown: dict[str, str],
    *,
    late: str,
    style: str,
    scripts: str,
    csp: str,
) -> str:
    classes = facts["classes"]
    assert isinstance(classes, list)
    lines = [
        f"      <dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in shown.items()
    ]
    return Template(_source("index.html")).substitute(
        title=html.escape(str(facts["title"])),
        num_classes=len(classes),
        facts="\n".join(lines),
        late=late,
        style=style,
        scripts=scripts,
        csp=csp,
    )


def _policy(*, script: str, style: str, connect: str) -> str:
    """Return the content security policy: nothing but the page's own parts, and no request."""
    return (
        f"default-src 'none'; script-src {script} 'wasm-unsafe-eval'; style-src {style}; "
        f"connect-src {connect}; worker-src 'self'; base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def _data_block(name: str, data: bytes) -> str:
    packed = base64.b64encode(gzip.compress(data, mtime=0)).decode()
    return f'<script type="application/octet-stream" id="{name}">{packed}</script>'


def _joined_modules() -> str:
    """Return our modules as one: a page from the disk cannot import files."""
    sources = [re.sub(r"^import [^;]*;\n", "", _source(name), flags=re.M) for name in MODULES]
    joined = "\n".join(re.sub(r"^export ", "", source, flags=re.M) for source in sources)
    return f"const ort = globalThis.ort;\n{joined}"


def _as_global(runtime: WebRuntime) -> str:
    """Return the module of onnxruntime-web with a global variable in place of its exports."""
    text = runtime.javascript.decode()
    exports = re.search(r"export\{([^}]*)\};\s*(//# sourceMappingURL=\S+\s*)?$", text)
    if exports is None or "</script" in text.lower():
        raise KdtoolError(
            f"{JAVASCRIPT} of onnxruntime-web {runtime.version} has another form than expected; "
            "report this as an error of kdtool"
        )
    pairs = [pair.split(" as ") for pair in exports[1].split(",")]
    values = ",".join(f"{name}:{local}" for local, name in pairs if name != "default")
    return f"{text[: exports.start()]}globalThis.ort={{{values}}};"
