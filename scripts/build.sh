#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Builds the hypervisor and the guest stub, or the one named: target/xenolith.elf and target/guest-stub.elf with
# symbols, .img as a boot loader takes it.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-none-softfloat
built=${CARGO_TARGET_DIR:-target}/$target/release

# What the hypervisor says of its build, as in `xl info`: the commit and its date, so that a commit has one image.
if date=$(TZ=UTC git log -1 --format=%cd --date='format-local:%a %b %e %H:%M:%S UTC %Y' 2>/dev/null); then
    changed=$(git diff --quiet HEAD || echo -dirty)
    export XENOLITH_COMPILE_DATE=${XENOLITH_COMPILE_DATE:-$date}
    export XENOLITH_CHANGESET=${XENOLITH_CHANGESET:-$date git:$(git rev-parse --short=12 HEAD)$changed}
fi

# image PACKAGE NAME [OPTION...]: builds it, leaves target/NAME.elf and target/NAME.img.
image() {
    local elf=target/$2.elf img=target/$2.img
    cargo build --release --package "$1" --target "$target" "${@:3}"
    mkdir -p target
    cp "$built/$1" "$elf.part"
    mv "$elf.part" "$elf"
    aarch64-linux-gnu-objcopy --output-target binary "$elf" "$img.part"
    # An arm64 Image says "ARM\x64" at 0x38 (Linux: Documentation/arch/arm64/booting.rst).
    if [ "$(head -c 60 "$img.part" | tail -c 4 | tr -d '\0')" != ARMd ]; then
        rm -f "$img" "$img.part"
        echo "build: $elf gives no arm64 Image: no magic at 0x38. Does its linker script put the header first?" >&2
        return 1
    fi
    mv "$img.part" "$img"
    echo "build: $img, $(stat -c %s "$img") bytes"
}

case ${1:-all} in
    # Not joined by `&&`: a failure inside would not end the script.
    all)
        image hypervisor xenolith
        image guest-stub guest-stub --features kernel
        ;;
    hypervisor) image hypervisor xenolith ;;
    guest-stub) image guest-stub guest-stub --features kernel ;;
    *) echo "usage: build.sh [hypervisor|guest-stub]" >&2; exit 1 ;;
esac
