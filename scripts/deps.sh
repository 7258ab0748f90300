#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Installs what building and testing need and this machine lacks: the Rust toolchain's parts through rustup, the rest
# through apt. Silent when nothing is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

target=aarch64-unknown-none-softfloat
channel=$(sed -n 's/^channel *= *"\(.*\)"/\1/p' rust-toolchain.toml)

say() { echo "deps: $*"; }
die() { echo "deps: $*" >&2; exit 1; }

# Program, Debian package, and what it is for.
needs='
qemu-system-aarch64|qemu-system-arm|runs the tests
aarch64-linux-gnu-objcopy|binutils-aarch64-linux-gnu|makes boot images, reads backtraces
dtc|device-tree-compiler|inspects device trees
mkimage|u-boot-tools|packs the script for U-Boot
xz|xz-utils|unpacks kernel modules
mke2fs|e2fsprogs|makes the disk of dom0
apt-get|apt|fetches the Linux and Xen packages that are booted
dpkg-deb|dpkg|unpacks them
setpriv|util-linux|ends QEMU with the tests
cc|gcc libc6-dev|links programs of the host
'

# Where an administrator's programs are.
PATH=$PATH:/usr/sbin:/sbin
packages=()
while IFS='|' read -r program package purpose; do
    if [ -n "$program" ] && ! command -v "$program" >/dev/null; then
        say "$program is missing (it $purpose): installing $package"
        # shellcheck disable=SC2206  # a cell may name two packages
        packages+=($package)
    fi
done <<<"$needs"
if ! [ -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    say "Debian's signing keys are missing (they verify the packages that are booted): installing debian-archive-keyring"
    packages+=(debian-archive-keyring)
fi

if [ ${#packages[@]} -gt 0 ]; then
    command -v apt-get >/dev/null || die "this machine has no apt-get; install these programs by hand, then run this again"
    root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "neither root nor sudo: as root, run: apt-get install ${packages[*]}"
        root=(sudo)
    fi
    "${root[@]}" apt-get update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "${packages[@]}"
fi

command -v cargo >/dev/null || die "cargo is missing: install Rust from https://rustup.rs"
if command -v rustup >/dev/null && ! rustup run "$channel" rustc --version >/dev/null 2>&1; then
    say "Rust $channel is missing (rust-toolchain.toml pins it): installing it"
    rustup toolchain install "$channel" --profile minimal --component rustfmt --component clippy --target "$target"
fi
if ! [ -d "$(rustc --print target-libdir --target "$target")" ]; then
    command -v rustup >/dev/null || die "this Rust has no library for $target and there is no rustup to add it"
    say "Rust's library for $target is missing (the hypervisor runs without an OS): adding it"
    rustup target add "$target"
fi
for component in rustfmt clippy; do
    program=cargo-${component/rustfmt/fmt}
    if ! command -v "$program" >/dev/null || ! cargo "${program#cargo-}" --version >/dev/null 2>&1; then
        command -v rustup >/dev/null || die "$program is missing and there is no rustup to add it"
        say "$component is missing (the tests run it): adding it"
        rustup component add "$component"
    fi
done
