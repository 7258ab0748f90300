#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Where the release hypervisor can still panic: each call of a panic entry point in the ELF, as
# "kind source:line function", from the innermost line that is the project's own. Names given as
# arguments (such as call/ vgic/ exit.rs) select sources.
set -euo pipefail
cd "$(dirname "$0")/.."

elf=${ELF:-target/xenolith.elf}
entries='panicking|option::(expect|unwrap)_failed|result::unwrap_failed|handle_alloc_error|capacity_overflow|slice_index_fail'
calls=$(mktemp)
trap 'rm -f "$calls"' EXIT

# "address kind" of each branch to a panic entry point that is not in one itself.
aarch64-linux-gnu-objdump --disassemble --demangle --no-show-raw-insn "$elf" |
    awk -v entries="($entries)" '
        /^[0-9a-f]+ </ { own = $0 ~ "<core::|<alloc::" && $0 ~ entries; next }
        !own && $2 ~ /^(b|bl)$/ && $0 ~ "<[^>]*" entries { sub(":", "", $1); sub(/.*::/, "", $NF); sub(/(\+0x.*)?>$/, "", $NF); print $1, $NF }
    ' >"$calls"

# addr2line answers an address with itself, then function and source of each inlined frame.
cut -d' ' -f1 "$calls" |
    aarch64-linux-gnu-addr2line --exe "$elf" --addresses --functions --inlines --demangle |
    awk -v calls="$calls" '
        function flush() { if (address) print kind, (source ? source : other) }
        /^0x/ { flush(); address = $1; getline line < calls; split(line, part, " "); kind = part[2]; source = other = ""; next }
        { name = $0; getline place; sub(/ \(disc.*/, "", place); frame = place " " name
          if (!other) other = frame
          if (!source && place ~ /(hypervisor|platform)\/(core\/|abi\/)?src\//) { sub(/.*\/(hypervisor|platform)\//, "", frame); source = frame } }
        END { flush() }
    ' | sort | uniq --count | sort --key=3 | { if [ $# -gt 0 ]; then grep -F "$(printf '%s\n' "$@")" || true; else cat; fi; }
