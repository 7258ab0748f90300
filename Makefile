# SPDX-License-Identifier: MIT OR Apache-2.0
# The verbs of the repository; the work is done by cargo, scripts/ and the crate tests.

TARGET := aarch64-unknown-none-softfloat
HARNESS := cargo run --quiet --package tests --
# Real Xen needs nothing of ours built but the kernel that checks it.
ON_XEN := $(filter xen,$(HV))

.DEFAULT_GOAL := help
.PHONY: help tools deps build hypervisor guest-stub run juno linux check unit trees juno-image boots list conformance test test-full bench bench-xl symbolize clean distclean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "make %-11s %s\n", $$1, $$2 }'

tools: ## install the programs that building and testing need
	@scripts/deps.sh

deps: tools ## tools, and the Debian packages that the tests boot
	@$(HARNESS) fetch

build: tools ## target/xenolith.img (boot it), target/xenolith.elf (symbols), target/guest-stub.img
	@scripts/build.sh

hypervisor: tools ## target/xenolith.img and .elf alone
	@scripts/build.sh hypervisor

guest-stub: tools ## target/guest-stub.img alone
	@scripts/build.sh guest-stub

run: $(if $(ON_XEN),guest-stub,build) ## the demonstration: disks, and pages of another domain; HV=xen: on real Xen
	@$(HARNESS) demo

juno: build deps ## the demonstration on a model of Arm's Juno, QEMU_JUNO=/path/to/qemu-system-aarch64
	@$(HARNESS) juno

linux: $(if $(ON_XEN),tools,hypervisor) ## Debian's Linux as dom0 under Xenolith on this terminal; HV=xen: under real Xen
	@$(HARNESS) linux

check: tools ## formatting and lints
	cargo fmt --all --check
	cargo clippy --all-targets -- -D warnings
	cargo clippy --package hypervisor --package guest-stub --features guest-stub/kernel --target $(TARGET) -- -D warnings

unit: tools ## tests on this machine, without QEMU
	cargo test --no-fail-fast

trees: deps ## the boot code over all device trees of Debian's kernels: what each board has and lacks
	cargo test --package hv-core corpus -- --ignored --nocapture

juno-image: deps hypervisor ## target/juno: what U-Boot starts on an Arm Juno, from a disk or by TFTP
	@$(HARNESS) juno-image

boots: $(if $(ON_XEN),guest-stub,build) ## QEMU tests; FILTER="disk soak/45s" by name, HV=xen on real Xen, JOBS=1 one by one
	@$(HARNESS) boots $(FILTER)

list: tools ## names of the QEMU tests
	@$(HARNESS) list

conformance: $(if $(ON_XEN),guest-stub,build) ## what a guest must see, on all machines: target/conformance/index.html; HV=xen on real Xen, FAMILY="grant event"
	@$(HARNESS) conformance $(FAMILY)

test: check unit build ## everything short: check, unit, build, and the short QEMU tests
	@$(HARNESS) boots

test-full: check unit build ## everything
	@$(HARNESS) boots --full

bench: build ## instructions per operation, Xenolith beside Xen
	@$(HARNESS) bench

bench-xl: build ## start, disk and network of a guest by the clock, Xenolith beside Xen; on an idle machine
	@$(HARNESS) bench-xl

symbolize: tools ## name the +0x... addresses of a log on standard input
	@$(HARNESS) symbolize

clean: ## remove what was built; downloads stay
	rm -rf target/debug target/release target/$(TARGET) target/logs target/scratch target/tmp target/conformance \
		target/juno
	rm -f target/*.img target/*.elf target/*.cpio target/dom0.*

distclean: ## remove downloads too
	rm -rf target
