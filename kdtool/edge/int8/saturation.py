"""int8 files whose sums a processor cuts off."""

from collections.abc import Mapping

from kdtool import environment

X86 = {"avx2", "avx512f"}
SUMS_IN_32_BITS = {"avx_vnni", "avx512_vnni"}


def target_of(metadata: Mapping[str, object]) -> object:
    """Return the processor that an int8 file was made for, from `read_metadata`; None: no such."""
    quantization = metadata.get("quantization")
    return quantization.get("target") if isinstance(quantization, dict) else None


def saturation(name: str, target: object) -> str | None:
    """Return a warning if this processor cuts off sums of an int8 file; None: it does not.

    Without VNNI, x86 processors add two products of 8 bits in 16 bits, which holds 7-bit weights
    (`target = "portable"`) but not 8-bit ones (`"x86"`).

    Args:
        name: Of the file.
        target: That it was made for, as `export.target`.

    Source: ONNX Runtime's documentation, "Quantize ONNX models", on U8S8 and saturation.
    """
    if target != "x86":
        return None
    features = set(environment.cpu_features(environment.CPU_INFO))
    if not features & X86 or features & SUMS_IN_32_BITS:
        return None
    return (
        f"{name} was made for x86 processors with VNNI, which this one lacks: it cuts off sums of "
        "the 8-bit weights, so classes may change; `kdtool export STUDY --target portable` "
        "makes a file that none cuts off"
    )
