#!/usr/bin/env bash
# Runs a kit's own check on emulated ARM64, with the aarch64 wheels that a device would get.
#
#     bash tests/arm64/check_kit.sh runs/mnist/kit [CACHE]
#
# Needs: apt install qemu-user mmdebstrap, pip, and the registries. A first run takes about two
# minutes and leaves 300 MB in CACHE (default: build/arm64), with which the next takes seconds.
# Exit status: that of check.py. Times mean nothing under emulation.
#
# What differs from x86-64 (onnxruntime 1.32.0): fp32 answers by about 1e-6; int8 answers of plain
# networks not at all; of networks that add branches by up to 0.22, because QLinearAdd rounds near
# ties otherwise on each platform: the check then says "another platform's rounding".
set -euo pipefail
kit=$(realpath "$1")
cache=$(realpath -m "${2:-build/arm64}")
for tool in qemu-aarch64 mmdebstrap; do
    command -v "$tool" >/dev/null || { echo "needs $tool: apt install qemu-user mmdebstrap" >&2; exit 2; }
done
mkdir -p "$cache"
root=$cache/root
if [ ! -e "$root/usr/bin/python3" ]; then  # unpacked only: nothing in it runs before qemu does
    mmdebstrap --quiet --variant=extract --architectures=arm64 \
        --include=python3,libstdc++6,libgomp1 bookworm "$cache/root.tar"
    rm -rf "$root" && mkdir "$root" && tar -C "$root" -xf "$cache/root.tar" --exclude=./dev && rm "$cache/root.tar"
fi
# qemu below 10 shows programs the x86 /proc/cpuinfo, with which the import of onnxruntime dies.
mkdir -p "$root/proc"
cat >"$root/proc/cpuinfo" <<'CPUINFO'
processor	: 0
BogoMIPS	: 100.00
Features	: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm
CPU implementer	: 0x41
CPU architecture: 8
CPU variant	: 0x3
CPU part	: 0xd0c
CPU revision	: 1
CPUINFO
site=$cache/site
if [ ! -d "$site/onnxruntime" ]; then
    python3 -m pip install --quiet --target "$site" --only-binary=:all: --python-version 3.11 \
        --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
        --platform manylinux2014_aarch64 -r "$kit/requirements.txt"
fi
run() { PYTHONPATH=$site qemu-aarch64 -L "$root" "$root/usr/bin/python3.11" "$@"; }
run -c 'import platform, onnxruntime; print(platform.machine(), "onnxruntime", onnxruntime.__version__)'
run "$kit/check.py"
