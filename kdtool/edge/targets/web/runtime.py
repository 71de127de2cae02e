"""onnxruntime-web: two files of its npm package, downloaded once or given, and verified."""

import base64
import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from kdtool.errors import KdtoolError, StudyError, reason
from kdtool.files import cache_folder, write_atomic

JAVASCRIPT = "ort.wasm.bundle.min.mjs"  # an ES module with WebAssembly as its only backend
WASM = "ort-wasm-simd-threaded.wasm"  # for one thread and for many


@dataclass(frozen=True, slots=True)
class Package:
    """A version of onnxruntime-web."""

    version: str
    url: str  # of its .tgz file
    sha512: str  # of that file, in base64, as npm writes it
    sha256: dict[str, str]  # of the needed files, by name, in hex


# The version whose answers in Chromium were compared with native ones. Its SHA-512 is that of npm:
# `npm view onnxruntime-web@1.30.0 dist.integrity`.
VERSION = "1.30.0"
NPM = Package(
    version=VERSION,
    url=f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz",
    sha512="q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ==",
    sha256={
        JAVASCRIPT: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
        WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
    },
)
TIMEOUT_SECONDS = 10.0  # for the connection and each read
HOW_TO_GET = (
    f"get it with `npm pack onnxruntime-web@{VERSION}` and give the path of the .tgz file that it "
    "writes"
)


@dataclass(frozen=True, slots=True, repr=False)
class WebRuntime:
    """The files of onnxruntime-web that a page needs, verified."""

    version: str
    javascript: bytes  # of `JAVASCRIPT`
    wasm: bytes  # of `WASM`


def find_runtime(given: Path | None = None, package: Package = NPM) -> WebRuntime:
    """Return onnxruntime-web from a path, else from the cache, else from npm's registry.

    Args:
        given: Its .tgz file, the folder that this unpacks to, or the folder `dist` in it.
        package: The version that is wanted.

    Raises:
        KdtoolError: There is none at this path, another version, or changed files; or it cannot be
            downloaded, or not be stored.
    """
    if given is not None:
        return _verified(_read_given(given), package, str(given))
    folder = cache_folder() / "onnxruntime-web" / package.version
    paths = {name: folder / name for name in package.sha256}
    kept = {name: path.read_bytes() for name, path in paths.items() if path.is_file()}
    if {name: _sha256(data) for name, data in kept.items()} == package.sha256:
        return _verified(kept, package, str(folder))
    runtime = _verified(_read_package(download(package), package.url), package, package.url)
    try:
        write_atomic(paths[JAVASCRIPT], runtime.javascript)
        write_atomic(paths[WASM], runtime.wasm)
    except StudyError as error:
        raise KdtoolError(
            f"onnxruntime-web cannot be stored: {error}; free some space, or set the environment "
            "variable XDG_CACHE_HOME to another folder"
        ) from error
    return runtime


def download(package: Package) -> bytes:
    """Return the .tgz file of onnxruntime-web, 33 MB.

    Raises:
        KdtoolError: It cannot be downloaded, or is another file.
    """
    try:
        with urlopen(package.url, timeout=TIMEOUT_SECONDS) as response:
            data: bytes = response.read()
    except (OSError, HTTPException) as error:
        raise KdtoolError(
            f"onnxruntime-web cannot be downloaded from {package.url}: {reason(error)}; "
            f"{HOW_TO_GET}"
        ) from error
    if base64.b64encode(hashlib.sha512(data).digest()).decode() != package.sha512:
        raise KdtoolError(
            f"{package.url} delivered another file than onnxruntime-web {package.version} (its "
            f"SHA-512 differs, {len(data):,} bytes); repeat it, or {HOW_TO_GET}"
        )
    return data


def _read_given(given: Path) -> dict[str, bytes]:
    try:
        if given.is_dir():
            return dict(_read_folder(given))
        return _read_package(given.read_bytes(), str(given))
    except OSError as error:
        raise KdtoolError(f"cannot read {given}: {reason(error)}; {HOW_TO_GET}") from error


def _read_folder(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield the needed files of an unpacked package, which exist."""
    roots = [folder, folder / "package", folder.parent if folder.name == "dist" else folder]
    description = next((root / "package.json" for root in roots if _is_package(root)), None)
    if description is not None:
        yield "package.json", description.read_bytes()
    for name in (JAVASCRIPT, WASM):
        places = (folder / name, folder / "dist" / name, folder / "package" / "dist" / name)
        found = next((place for place in places if place.is_file()), None)
        if found is not None:
            yield name, found.read_bytes()


def _is_package(folder: Path) -> bool:
    return (folder / "package.json").is_file()


def _read_package(data: bytes, where: str) -> dict[str, bytes]:
    """Return the needed files of a .tgz file that exist, by name.

    Raises:
        KdtoolError: It is not such a file.
    """
    wanted = {"package/package.json": "package.json"}
    wanted |= {f"package/dist/{name}": name for name in (JAVASCRIPT, WASM)}
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.name in wanted else None
                if stream is not None:
                    found[wanted[member.name]] = stream.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise KdtoolError(
            f"{where} is not a .tgz file, or is truncated ({reason(error)}); {HOW_TO_GET}"
        ) from error
    return found


def _verified(found: dict[str, bytes], package: Package, where: str) -> WebRuntime:
    if "package.json" in found:
        _check_version(found["package.json"], package, where)
    missing = [name for name in package.sha256 if name not in found]
    if missing:
        raise KdtoolError(
            f"{where} has no {' and no '.join(missing)}; expected the package onnxruntime-web: "
            f"{HOW_TO_GET}"
        )
    for name, sha256 in package.sha256.items():
        if _sha256(found[name]) != sha256:
            raise KdtoolError(
                f"{where}: {name} is not that of onnxruntime-web {package.version} (its SHA-256 "
                f"differs); {HOW_TO_GET}"
            )
    return WebRuntime(package.version, found[JAVASCRIPT], found[WASM])


def _check_version(description: bytes, package: Package, where: str) -> None:
    try:
        described = json.loads(description)
        given = f"{described['name']} {described['version']}"
    except (ValueError, KeyError, TypeError):
        given = "a package without name and version"
    if given != f"onnxruntime-web {package.version}":
        raise KdtoolError(
            f"{where} is {given}; expected onnxruntime-web {package.version}, the version that "
            f"kdtool was checked with: {HOW_TO_GET}"
        )


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
