"""The wheel of kdtool: complete, and part of a kit on request."""

import os
import shutil
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest

from kdtool import __version__
from kdtool.edge.kit.build import check_wheel
from kdtool.edge.kit.folder import changed_files
from kdtool.errors import StudyError

ROOT = Path(__file__).parents[3]
NAME = f"kdtool-{__version__}-py3-none-any.whl"


def write_wheel(path, name="kdtool", version=__version__):
    """Write the part of a wheel that names it."""
    with zipfile.ZipFile(path, "w") as archive:
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{name}-{version}.dist-info/METADATA", text)
    return path


@pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv")
def test_a_wheel_holds_every_file_of_the_package_and_its_extras(tmp_path):
    build = ["uv", "build", "--quiet", "--wheel", "--out-dir", str(tmp_path / "dist"), str(ROOT)]
    subprocess.run(build, check=True)
    wheel = tmp_path / "dist" / NAME
    check_wheel(wheel)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    sources = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "kdtool").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    site = tmp_path / "site"
    packed = {path.relative_to(site).as_posix() for path in (site / "kdtool").rglob("*.*")}
    assert packed == sources
    assert {"kdtool/edge/portable/README.md", "kdtool/edge/portable/predict.py"} < packed
    assert any(name.startswith("kdtool/report/templates/") for name in packed)

    metadata = HeaderParser().parsestr(next(site.glob("*.dist-info/METADATA")).read_text())
    assert metadata["Requires-Python"] == ">=3.11"
    needed = metadata.get_all("Requires-Dist")
    assert "onnxruntime>=1.25; extra == 'cpu'" in needed
    assert not [text for text in needed if "torch" in text and "extra ==" not in text]

    code = "import kdtool.edge.profile, kdtool.edge.kit.build; print(kdtool.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"PYTHONPATH": str(site)},
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == str(site / "kdtool" / "__init__.py")


def test_a_kit_carries_a_wheel_and_its_readme_installs_it(tmp_path, make_kit, run):
    wheel = write_wheel(tmp_path / NAME)
    folder, _ = make_kit(wheel=wheel)
    assert (folder / NAME).read_bytes() == wheel.read_bytes()
    assert changed_files(folder) == []
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "no PyTorch. Its wheel is in this folder:" in text
    assert f'\npython3 -m pip install "./{NAME}[cpu]"\nkdtool profile model.onnx\n' in text
    (folder / NAME).write_bytes(b"cut")
    assert f"missing or changed: {NAME};" in run(folder / "check.py").stdout


def test_the_readme_of_a_kit_without_a_wheel_explains_how_to_build_one(make_kit):
    folder, _ = make_kit()
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert "in a clone of kdtool with\n`uv build --wheel`, and copy it from `dist/`" in text
    assert f'\npython3 -m pip install "./{NAME}[cpu]"\n' in text
    assert 'pip install "kdtool' not in text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: path, r"there is no wheel .*; `uv build --wheel` in a clone of kdtool"),
        (
            lambda path: write_wheel(path, version="9.9"),
            r"is a wheel of kdtool 9\.9; expected",
        ),
        (lambda path: write_wheel(path, name="numpy"), r"is a wheel of numpy .*; expected a wheel"),
        (lambda path: path.write_bytes(b"PK no"), r"is not a wheel; expected a wheel of kdtool"),
    ],
)
def test_another_file_is_refused_as_a_wheel(tmp_path, make_kit, make, message):
    make(tmp_path / NAME)
    with pytest.raises(StudyError, match=message):
        make_kit(wheel=tmp_path / NAME)
    assert not (tmp_path / "kit").exists()


def test_the_page_on_shipping_names_the_wheel_of_this_version():
    text = (ROOT / "docs" / "shipping.md").read_text(encoding="utf-8")
    assert f"--wheel dist/{NAME}\n" in text
    assert f'pip install "./{NAME}[cpu]"\n' in text
