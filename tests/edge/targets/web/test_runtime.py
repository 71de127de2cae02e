"""onnxruntime-web from a path, the cache and a server."""

import base64
import gzip
import hashlib
import io
import re
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from web_pages import GIVEN, onnxruntime_web, serving

from kdtool.edge.targets.web.page import one_file
from kdtool.edge.targets.web.runtime import (
    JAVASCRIPT,
    NPM,
    VERSION,
    WASM,
    Package,
    WebRuntime,
    download,
    find_runtime,
)
from kdtool.errors import KdtoolError

DESCRIPTION = b'{"name": "onnxruntime-web", "version": "%s"}'
OURS = DESCRIPTION % VERSION.encode()
CONTENT = {"package.json": OURS, f"dist/{JAVASCRIPT}": b"js", f"dist/{WASM}": b"wasm"}
HOW = "get it with `npm pack onnxruntime-web@1.30.0` and give the path of the .tgz file"


def packed(content):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in content.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)  # the same bytes each time


def without(name):
    return {key: data for key, data in CONTENT.items() if key != name}


def package(content):
    def write(path):
        path.write_bytes(packed(content))

    return write


def folder(content):
    def write(path):
        for name, data in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(data)

    return write


GIVEN_PATHS = {
    "nothing there": (lambda path: None, r"cannot read .*given: No such file or directory"),
    "an empty folder": (
        lambda path: path.mkdir(),
        rf"given has no {JAVASCRIPT} and no {WASM}; expected the package onnxruntime-web",
    ),
    "not a .tgz": (
        lambda path: path.write_bytes(b"PK\3\4 no"),
        r"given is not a \.tgz file, or is truncated \(not a gzip file\)",
    ),
    "a truncated .tgz": (
        lambda path: path.write_bytes(packed(CONTENT)[:-60]),
        r"given is not a \.tgz file, or is truncated \(",
    ),
    "a damaged .tgz": (
        lambda path: path.write_bytes(packed(CONTENT)[:40] + b"\xff" * 60),
        r"given is not a \.tgz file, or is truncated \(",
    ),
    "another package": (
        package(CONTENT | {"package.json": b'{"name": "left-pad", "version": "1.3.0"}'}),
        r"given is left-pad 1\.3\.0; expected onnxruntime-web 1\.30\.0, the version that kdtool",
    ),
    "another version": (
        package(CONTENT | {"package.json": DESCRIPTION % b"1.29.0"}),
        r"given is onnxruntime-web 1\.29\.0; expected onnxruntime-web 1\.30\.0",
    ),
    "another version in a folder": (
        folder(CONTENT | {"package.json": DESCRIPTION % b"2.0.0"}),
        r"given is onnxruntime-web 2\.0\.0; expected",
    ),
    "no description": (
        package(CONTENT | {"package.json": b"no JSON"}),
        r"given is a package without name and version; expected",
    ),
    "no WebAssembly": (package(without(f"dist/{WASM}")), rf"given has no {WASM}; expected"),
    "no JavaScript in a folder": (
        folder(without(f"dist/{JAVASCRIPT}")),
        rf"given has no {re.escape(JAVASCRIPT)}; expected",
    ),
    "a changed file": (
        package(CONTENT),
        rf"given: {re.escape(JAVASCRIPT)} is not that of onnxruntime-web 1\.30\.0 \(its SHA-256",
    ),
}


@pytest.mark.parametrize("name", GIVEN_PATHS)
def test_a_path_that_cannot_be_used_gets_a_message(tmp_path, name):
    write, message = GIVEN_PATHS[name]
    write(tmp_path / "given")
    with pytest.raises(KdtoolError, match=message) as caught:
        find_runtime(tmp_path / "given")
    assert HOW in str(caught.value)


def sha512(data):
    return base64.b64encode(hashlib.sha512(data).digest()).decode()


def small(address):
    """A package that is served as `package.tgz`, and checked as onnxruntime-web is."""
    hashes = {name: hashlib.sha256(CONTENT[f"dist/{name}"]).hexdigest() for name in NPM.sha256}
    return Package(VERSION, f"{address}/package.tgz", sha512(packed(CONTENT)), hashes)


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A small package on a server; the cache is a new folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "server").mkdir()
    (tmp_path / "server" / "package.tgz").write_bytes(packed(CONTENT))
    with serving(tmp_path / "server") as address:
        yield small(address)


def test_a_download_is_checked(served):
    assert download(served) == packed(CONTENT)
    with pytest.raises(KdtoolError, match=r"delivered another file than onnxruntime-web 1\.30\.0"):
        download(replace(served, sha512=NPM.sha512))
    absent = replace(served, url=served.url.replace("package", "absent"))
    with pytest.raises(KdtoolError, match=r"cannot be downloaded from .*: HTTP Error 404"):
        download(absent)


def test_a_server_that_does_not_answer_gets_a_message():
    nobody = replace(NPM, url="http://127.0.0.1:9/package.tgz")
    with pytest.raises(KdtoolError, match=r"cannot be downloaded .*: Connection") as caught:
        download(nobody)
    assert HOW in str(caught.value)


def test_a_download_is_kept_and_a_damaged_copy_is_replaced(served, tmp_path):
    runtime = find_runtime(package=served)
    assert (runtime.version, runtime.javascript, runtime.wasm) == (VERSION, b"js", b"wasm")
    kept = tmp_path / "cache" / "kdtool" / "onnxruntime-web" / VERSION
    assert {path.name for path in kept.iterdir()} == {JAVASCRIPT, WASM}
    (kept / WASM).write_bytes(b"cut")
    assert find_runtime(package=served) == runtime
    (tmp_path / "server" / "package.tgz").unlink()
    assert find_runtime(package=served) == runtime
    (kept / WASM).unlink()
    with pytest.raises(KdtoolError, match="cannot be downloaded"):
        find_runtime(package=served)


def test_a_cache_that_cannot_be_written_gets_a_message(served, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(KdtoolError, match=r"cannot be stored: cannot write .*; free some space"):
        find_runtime(package=served)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_gets_a_message(served, monkeypatch):
    def full(path, data):
        with Path("/dev/full").open("wb", buffering=0) as file:  # what a full disk answers
            file.write(data)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(KdtoolError, match=r"cannot be stored: .*: No space left on device; free"):
        find_runtime(package=served)


def test_the_address_is_that_of_the_pinned_version():
    assert NPM.url.endswith(f"/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz")
    assert len(base64.b64decode(NPM.sha512)) == 64


def test_the_real_package_is_found_in_each_form(tmp_path):
    runtime = onnxruntime_web()
    if GIVEN.endswith(".tgz"):
        with tarfile.open(GIVEN) as archive:
            archive.extractall(tmp_path, filter="data")
        for place in (tmp_path, tmp_path / "package", tmp_path / "package" / "dist"):
            assert find_runtime(place) == runtime
        assert sha512(Path(GIVEN).read_bytes()) == NPM.sha512


def test_another_form_of_the_script_is_refused():
    facts = {"title": "t", "classes": ["a"]}
    runtime = WebRuntime("9.9", b"export default 1;", b"")
    with pytest.raises(KdtoolError, match=r"onnxruntime-web 9\.9 has another form than expected"):
        one_file(facts, {}, runtime, {})
    runtime = replace(runtime, javascript=b"'</script>';export{a as b};")
    with pytest.raises(KdtoolError, match=r"has another form than expected"):
        one_file(facts, {}, runtime, {})
