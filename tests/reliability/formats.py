"""The files that kdtool reads: a valid one of each format, and how kdtool reads it."""

import csv
import gzip
import io
import json
import math
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from classifiers import write_classifier
from loading import no_progress
from mutate import change_bytes, change_json, change_onnx, change_toml
from PIL import Image
from safetensors.torch import save_file
from sample_files import environment, model_profile, timing
from sample_study import build_results, write_saliency
from torch import nn

from kdtool.edge.count.graph import count_graph
from kdtool.edge.kit.folder import write_manifest
from kdtool.edge.predict import predict_files
from kdtool.edge.verify.folders import made_folders
from kdtool.errors import KdtoolError
from kdtool.recipe.data import Columns, CsvTable, FolderTable, IdxTable, NpzTable, WebDatasetTable
from kdtool.recipe.load import load_recipe
from kdtool.recipe.training import TrainTable
from kdtool.report.write import write_report
from kdtool.results.base import Summary, seal_of, to_json
from kdtool.results.profile import OperatorTime, ProfileReport
from kdtool.results.study import EpochRecord, load_results
from kdtool.study.device_profiles import device_profile, load_profile
from kdtool.study.folder import Study
from kdtool.study.keys import key_of
from kdtool.train.data.images import read_pictures
from kdtool.train.data.splits import load_source
from kdtool.train.fit.state import State
from kdtool.train.models.checkpoint import load_facts, load_weights, save_weights
from kdtool.train.models.onnx_teacher import OnnxTeacher
from kdtool.train.models.weights_file import load_file_of_weights

SIDE = 8
MODEL, RECIPE = "model.onnx", "recipe.toml"


@dataclass(frozen=True)
class Format:
    """A kind of file."""

    write: Callable[[Path], object]  # valid files, into an empty folder
    names: tuple[str, ...]  # of the files that are changed, one at a time
    read: Callable[[Path], object]  # the folder; KdtoolError for what is refused
    change: Callable[..., bytes] = change_bytes


def all_of(*calls):
    """Call each; then raise the first KdtoolError."""
    raised = []
    for call in calls:
        try:
            call()
        except KdtoolError as error:
            raised.append(error)
    if raised:
        raise raised[0]


def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def pictures_of(suffix, mode="RGB", **options):
    """A picture of one format, read as a training image and by `predict`."""
    name = f"picture{suffix}"

    def write(folder):
        picture().convert(mode).save(folder / name, **options)
        write_classifier(folder / MODEL)

    def read(folder):
        table = FolderTable(source="folder", root=folder, size=SIDE)

        def predicted():
            (answer,) = predict_files(folder / MODEL, [folder / name]).predictions
            if answer.error:
                raise KdtoolError(answer.error)

        all_of(
            lambda: read_pictures([folder / name], [name], table, no_progress),
            predicted,
        )

    return Format(write, (name,), read)


def write_onnx(folder, form="pixels"):
    write_classifier(folder / MODEL, form)
    picture().convert("L").save(folder / "picture.png")


def read_onnx(folder, shapes=None):
    table = TrainTable.model_construct(model=str(folder / MODEL), mean=(0.5,), std=(0.5,))
    all_of(
        lambda: count_graph(folder / MODEL, 1, shapes),
        lambda: predict_files(folder / MODEL, [folder / "picture.png"]),
        lambda: OnnxTeacher(table, (1, 4, 6)),
    )


def idx(array):
    head = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    return head + array.tobytes()


def idx_arrays():
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
    return {"images": images, "labels": np.arange(40, dtype=np.uint8) % 4}


IDX_NAMES = {
    f"{name}-{kind}-idx{ndim}-ubyte{suffix}": kind
    for name, suffix in (("train", ""), ("t10k", ".gz"))
    for kind, ndim in (("images", 3), ("labels", 1))
}


def write_idx(folder):
    for name, kind in IDX_NAMES.items():
        content = idx(idx_arrays()[kind])
        (folder / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)


def write_npz(folder, save=np.savez):
    arrays = {}
    for split in ("train", "val", "test"):
        arrays[f"{split}_images"] = idx_arrays()["images"]
        arrays[f"{split}_labels"] = idx_arrays()["labels"][:, None]
    save(folder / "set.npz", **arrays)


def write_csv(folder):
    for number in range(24):
        picture().save(folder / f"{number}.png")
    with (folder / "set.csv").open("w", newline="") as file:
        splits = ["train"] * 20 + ["test"] * 4
        rows = [(f"{number}.png", "ab"[number % 2], splits[number]) for number in range(24)]
        csv.writer(file).writerows([("name", "class", "split"), *rows])


def csv_table(folder):
    columns = Columns(file="name", label="class", split="split")
    return CsvTable(source="csv", root=folder, csv="set.csv", columns=columns, size=SIDE)


def write_shard(folder):
    encoded = io.BytesIO()
    picture().save(encoded, "png")
    with tarfile.open(folder / "set.tar", "w") as archive:
        for number in range(20):
            for ending, content in (("png", encoded.getvalue()), ("cls", b"ab"[number % 2 :][:1])):
                member = tarfile.TarInfo(f"{number}.{ending}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))


def write_state(folder):
    model = network()
    model(torch.rand(8, 12)).sum().backward()
    optimizer = torch.optim.AdamW(model.parameters())
    optimizer.step()
    epoch = EpochRecord(
        epoch=1,
        train_loss=1.0,
        validation_loss=1.0,
        validation_accuracy=0.5,
        validation_score=0.5,
        phase=1,
        seconds=1.0,
    )
    state = State(model, None, saved_at=-math.inf)
    state.add(epoch)
    state.save(folder / "model.state.pt", optimizer)


def read_checkpoint(folder):
    path = folder / "model.safetensors"
    all_of(lambda: load_facts(path), lambda: load_weights(path, network()))


def results(**more):
    devices = (("Cortex-A76", 3.0, 0.6),)
    return build_results(classes=("a", "b"), num_test=60, devices=devices, **more)


def write_results(folder):
    """Results with every part of a report."""
    scores = {"metric": "balanced_accuracy", "duplicates": False}
    evidence = {"fine_classes": ("p", "q", "r", "s"), "excluded": ("b",)}
    study = results(sweep_keys=1, explain=True, evidence=evidence, int8=True, scores=scores)
    write_saliency(study, folder)
    images = np.zeros((len(study.gallery.images), 8, 8, 1), np.uint8)
    np.savez(folder / study.gallery.path, images=images)
    (folder / "results.json").write_text(to_json(study))


def read_results(folder):
    write_report(load_results(folder / "results.json"), folder)


def write_profile(folder):
    study = results()
    (folder / "results.json").write_text(to_json(study))
    file = study.models["student"].files["fp32"]
    model = model_profile(
        "student.onnx",
        timing(0.5),
        sha256=file.sha256,
        size_bytes=file.size_bytes,
        metadata={"kdtool_version": "0.2.0", "role": "student"},
        other_latencies=[timing(0.3, threads=4)],
        operators=[OperatorTime(op_type="Gemm", num_nodes=1, mean_ms=0.4, share=0.8)],
    )
    report = ProfileReport(
        environment=environment("Cortex-A76"), models=[model], comparisons=[], matrix_rates=[]
    )
    (folder / "device.json").write_text(to_json(report))


def read_profile(folder):
    report = load_profile(folder / "device.json")
    study = load_results(folder / "results.json")
    device_profile(folder / "device.json", report, folder, study, lambda _text: None)


def change_sealed(content, rng):
    """Change JSON as whoever can compute its seal would."""
    tree = json.loads(change_json(content, rng))
    if "sha256" in tree:
        del tree["sha256"]
        tree["sha256"] = seal_of(tree)
    return json.dumps(tree).encode()


def write_stage(folder):
    file, score = folder / "out.txt", Summary(mean=0.5, std=None, ci95=(0.4, 0.6))

    def make():
        file.write_text("content")
        return score, [file]

    Study(folder).stage("stage", key_of("evaluate"), Summary, make)


def read_stage(folder):
    study = Study(folder)
    study.done("stage", key_of("evaluate"), Summary)
    for name, record in study.records("*"):
        study.has_files(name, record)


def write_manifest_of_kit(folder):
    kit = folder / "kit"
    kit.mkdir()
    for name in ("model.onnx", "labels.txt"):
        (kit / name).write_text(name)
    source = one_study().models["student"].files["fp32"].sha256
    write_manifest(kit, {"source": source})


def read_manifest(folder):
    if found := made_folders(folder, one_study()).mismatches:
        raise KdtoolError(found[0].file)


@cache
def one_study():
    return results()


def write_recipe(folder):
    content = (Path(__file__).parents[2] / "recipes" / "mnist-2x5.toml").read_bytes()
    (folder / RECIPE).write_bytes(content)


FORMATS = {
    "onnx bytes": Format(write_onnx, (MODEL,), read_onnx),
    "onnx graph": Format(write_onnx, (MODEL,), read_onnx, change_onnx),
    "onnx graph of any size": Format(
        lambda folder: write_onnx(folder, "resize"),
        (MODEL,),
        lambda folder: read_onnx(folder, {"": (4, 6, 1)}),
        change_onnx,
    ),
    "png": pictures_of(".png"),
    "png with a palette": pictures_of(".png", "P"),
    "jpeg": pictures_of(".jpg", quality=90),
    "progressive jpeg": pictures_of(".jpg", quality=90, progressive=True),
    "tiff": pictures_of(".tif"),
    "packed tiff": pictures_of(".tif", compression="tiff_lzw"),
    "webp": pictures_of(".webp"),
    "bmp": pictures_of(".bmp"),
    "gif": pictures_of(".gif", "P"),
    "idx": Format(
        write_idx,
        tuple(IDX_NAMES),
        lambda folder: load_source(IdxTable(source="idx", root=folder), no_progress),
    ),
    "npz": Format(
        write_npz,
        ("set.npz",),
        lambda folder: load_source(
            NpzTable(source="npz", root=folder, file="set.npz"), no_progress
        ),
    ),
    "packed npz": Format(
        lambda folder: write_npz(folder, np.savez_compressed),
        ("set.npz",),
        lambda folder: load_source(
            NpzTable(source="npz", root=folder, file="set.npz"), no_progress
        ),
    ),
    "csv": Format(
        write_csv, ("set.csv",), lambda folder: load_source(csv_table(folder), no_progress)
    ),
    "tar shard": Format(
        write_shard,
        ("set.tar",),
        lambda folder: load_source(
            WebDatasetTable(source="webdataset", root=folder, size=SIDE), no_progress
        ),
    ),
    "safetensors": Format(
        lambda folder: save_file(network().state_dict(), folder / "model.safetensors"),
        ("model.safetensors",),
        lambda folder: load_file_of_weights(folder / "model.safetensors"),
    ),
    "pth": Format(
        lambda folder: torch.save(network().state_dict(), folder / "model.pth"),
        ("model.pth",),
        lambda folder: load_file_of_weights(folder / "model.pth"),
    ),
    "checkpoint": Format(
        lambda folder: save_weights(folder / "model.safetensors", network().state_dict(), {}),
        ("model.safetensors",),
        read_checkpoint,
    ),
    "training state": Format(
        write_state,
        ("model.state.pt",),
        lambda folder: State.load(folder / "model.state.pt", network(), 0.0),
    ),
    "results.json": Format(write_results, ("results.json",), read_results, change_json),
    "results.json bytes": Format(write_results, ("results.json",), read_results),
    "profile": Format(write_profile, ("device.json",), read_profile, change_json),
    "profile bytes": Format(write_profile, ("device.json",), read_profile),
    "record of a stage": Format(write_stage, ("stages/stage.json",), read_stage, change_sealed),
    "record of a stage, bytes": Format(write_stage, ("stages/stage.json",), read_stage),
    "manifest": Format(write_manifest_of_kit, ("kit/manifest.json",), read_manifest, change_sealed),
    "manifest bytes": Format(write_manifest_of_kit, ("kit/manifest.json",), read_manifest),
    "recipe": Format(
        write_recipe, (RECIPE,), lambda folder: load_recipe(folder / RECIPE), change_toml
    ),
    "recipe bytes": Format(write_recipe, (RECIPE,), lambda folder: load_recipe(folder / RECIPE)),
}
