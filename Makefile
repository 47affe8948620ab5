# Every command of the project by name. `make help` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Build output, the tools that these commands install, and the versions they pin.
TARGET_DIR := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
TOOLS      := $(or $(SPANMILL_TOOLS),$(TARGET_DIR)/tools)
VENV       := $(CURDIR)/.venv
NODE       := $(CURDIR)/integration/node
LOCKED     := $(if $(CI),--locked)

CARGO_AUDIT_VERSION   := 0.22.2
CARGO_DENY_VERSION    := 0.20.2
CARGO_NEXTEST_VERSION := 0.9.143
GUNGRAUN_VERSION      := $(shell sed -n '/^name = "gungraun"$$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)

# Installed tools come last, so that what the machine has wins.
export PATH := $(PATH):$(TOOLS)/bin

.PHONY: help reference run cluster prometheus test test-tools ci fmt fmt-check clippy doc layout deny audit bench bench-e2e soak fuzz simulate tools

help: ## List these commands.
	@sed -n 's/^\([a-z0-9-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 12

run: ## Build spanmill and start it with its defaults, ready to receive.
	cargo run --release -p spanmill

cluster: prometheus ## Start 2 distributors, 3 generators, spangen and Prometheus on this machine.
	cargo build --release -p spanmill -p spanmillctl -p spangen
	SPANMILL_BIN_DIR=$(TARGET_DIR)/release \
	SPANMILL_PROMETHEUS=$$(PATH="$$PATH:$(TOOLS)/prometheus/usr/bin" command -v prometheus) \
	  operations/cluster/run.sh $(CLUSTER_ARGS)

test: test-tools ## Install what the tests need and run them all.
	# Programs and tests in one go: built apart, they would differ in the features of
	# what they depend on, and everything would be built twice.
	cargo build --workspace --bins --tests $(LOCKED)
	SPANMILL_BIN_DIR=$(TARGET_DIR)/debug $(TARGET_DIR)/debug/xtask reference --check
	cargo test --doc --workspace $(LOCKED) --quiet
	SPANMILL_BIN_DIR=$(TARGET_DIR)/debug \
	SPANMILL_PROMETHEUS=$$(PATH="$$PATH:$(TOOLS)/prometheus/usr/bin" command -v prometheus) \
	SPANMILL_SLOWHTTPTEST=$$(PATH="$$PATH:$(TOOLS)/slowhttptest/usr/bin" command -v slowhttptest) \
	SPANMILL_H2LOAD=$$(PATH="$$PATH:$(TOOLS)/nghttp2-client/usr/bin" command -v h2load) \
	SPANMILL_NFT=$$(PATH="$$PATH:$(TOOLS)/nftables/usr/sbin:/usr/sbin" command -v nft) \
	SPANMILL_VICTORIA_METRICS=$$(PATH="$$PATH:$(TOOLS)/victoria-metrics/usr/bin" command -v victoria-metrics) \
	  cargo nextest run --workspace $(LOCKED) --no-fail-fast

# The steps, in order; the tests come last, so that their summary ends the output.
CI_STEPS := fmt-check layout deny audit clippy doc fuzz test

ci: export CI := true
ci: ## Everything that must hold before a change lands: exactly what CI runs.
	@for step in $(CI_STEPS); do \
	  printf '\n== %s (%d s since the start)\n' "$$step" "$$SECONDS"; \
	  $(MAKE) --no-print-directory "$$step"; \
	done

fmt: ## Format all code.
	cargo fmt --all

fmt-check:
	cargo fmt --all -- --check

clippy:
	cargo clippy --workspace --all-targets $(LOCKED) -- -D warnings

doc:
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps $(LOCKED)

layout: ## Check crate levels, file lengths, and names of metrics under operations/.
	cargo run --quiet $(LOCKED) -p xtask -- layout

reference: ## Make the pages in docs/reference that are generated; `make test` checks them.
	cargo run --quiet $(LOCKED) -p xtask -- reference

deny: $(TOOLS)/bin/cargo-deny ## Check licences, banned crates and sources.
	$< --log-level error check licenses bans sources

audit: $(TOOLS)/bin/cargo-audit $(TOOLS)/advisory-db/.unpacked ## Check for crates with known vulnerabilities.
	$< audit --no-fetch --stale --deny warnings --db $(TOOLS)/advisory-db --file Cargo.lock

bench: $(TOOLS)/bin/gungraun-runner ## Count instructions of the hot paths (needs valgrind).
	GUNGRAUN_RUNNER=$< cargo bench $(LOCKED) -p spanmill-integration --features bench \
	  --bench ingest --bench cluster

bench-e2e: ## Measure a release build over real sockets.
	cargo build --release --bins -p spanmill -p spangen -p spanmill-integration
	$(TARGET_DIR)/release/bench_e2e --spanmill $(TARGET_DIR)/release/spanmill \
	  --spangen $(TARGET_DIR)/release/spangen $(BENCH_ARGS)

soak: ## Measure what tenants feel of each other, in 512 MiB (needs the right to make cgroups).
	cargo build --release --bins -p spanmill -p spangen -p spanmill-integration
	SPANMILL_BIN_DIR=$(TARGET_DIR)/release $(TARGET_DIR)/release/soak $(SOAK_ARGS)

simulate: SIMULATION_SEEDS ?= 500..5000
simulate: ## Simulate clusters of SIMULATION_SEEDS (500..5000); `make test` does the first 500.
	SPANMILL_SIMULATION_SEEDS=$(SIMULATION_SEEDS) cargo test $(LOCKED) -p spanmill-distributor -p spanmill-ring \
	  --test simulation -- --nocapture every_

# Package, target, and what it begins with besides its corpus.
FUZZ_TARGETS := otlp/view:../../integration/testdata/conformance/inputs otlp/json distributor/conversion \
  overrides/overrides registry/survey remote-write/answer remote-write/segment ring/frame
# As cargo-fuzz has it without a sanitizer: none is for code without `unsafe`, and so no
# nightly toolchain is needed. Only what is built for the target is instrumented.
FUZZ_HOST  := $(shell rustc -vV | sed -n 's/^host: //p')
FUZZ_FLAGS := -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
  -Cllvm-args=-sanitizer-coverage-trace-compares -Cdebug-assertions -Coverflow-checks

fuzz: FUZZ_SECONDS ?= $(if $(CI),20,60)
fuzz: ## Fuzz every decoder for FUZZ_SECONDS (60; in CI 20) each.
	@for target in $(FUZZ_TARGETS); do \
	  begin=$${target#*:}; target=$${target%%:*}; \
	  package=pkg/$${target%%/*}; name=$${target##*/}; \
	  [[ $$begin == */*/* ]] && begin=$$package/$$begin || begin=; \
	  printf '\n-- %s\n' "$$target"; \
	  cp Cargo.lock $$package/fuzz/Cargo.lock; \
	  RUSTFLAGS="$(FUZZ_FLAGS)" cargo build --quiet --release --target $(FUZZ_HOST) \
	    --manifest-path $$package/fuzz/Cargo.toml --target-dir $(TARGET_DIR)/fuzz --bin $$name; \
	  mkdir -p $(TARGET_DIR)/fuzz-corpus/$$name; \
	  TMPDIR=$$([[ -d /dev/shm ]] && echo /dev/shm || echo "$${TMPDIR:-/tmp}") \
	  $(TARGET_DIR)/fuzz/$(FUZZ_HOST)/release/$$name -max_total_time=$(FUZZ_SECONDS) \
	    -rss_limit_mb=1024 -artifact_prefix=$$package/fuzz/ -print_final_stats=1 -print_funcs=0 -verbosity=0 \
	    $(TARGET_DIR)/fuzz-corpus/$$name $$package/fuzz/corpus/$$name $$begin 2>&1 \
	    | grep -v '^"\|^###### '; \
	done

tools: test-tools $(TOOLS)/bin/cargo-deny $(TOOLS)/bin/cargo-audit ## Install every tool that `make ci` needs.

test-tools: prometheus $(VENV)/.installed $(VENV)-older/.installed $(NODE)/node_modules/.installed
	@command -v cargo-nextest >/dev/null || \
	  cargo install --locked --root $(TOOLS) cargo-nextest@$(CARGO_NEXTEST_VERSION)
	@PATH="$$PATH:$(TOOLS)/victoria-metrics/usr/bin" command -v victoria-metrics >/dev/null || \
	  operations/fetch-debian-package.sh victoria-metrics $(TOOLS)/victoria-metrics
	@PATH="$$PATH:$(TOOLS)/slowhttptest/usr/bin" command -v slowhttptest >/dev/null || \
	  operations/fetch-debian-package.sh slowhttptest $(TOOLS)/slowhttptest
	@PATH="$$PATH:$(TOOLS)/nghttp2-client/usr/bin" command -v h2load >/dev/null || \
	  operations/fetch-debian-package.sh nghttp2-client $(TOOLS)/nghttp2-client h2load \
	    libjemalloc2 libev4
	@PATH="$$PATH:$(TOOLS)/nftables/usr/sbin:/usr/sbin" command -v nft >/dev/null || \
	  operations/fetch-debian-package.sh nftables $(TOOLS)/nftables nft \
	    libnftables1 libnftnl11 libedit2 libjansson4 libxtables12 libbsd0 libmd0

prometheus:
	@PATH="$$PATH:$(TOOLS)/prometheus/usr/bin" command -v prometheus >/dev/null || \
	  operations/fetch-debian-package.sh prometheus $(TOOLS)/prometheus

$(VENV)/.installed: integration/requirements.txt
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# Clients that do not go with the others.
$(VENV)-older/.installed: integration/requirements-older.txt
	python3 -m venv $(VENV)-older
	$(VENV)-older/bin/pip install --quiet --disable-pip-version-check --requirement $<
	touch $@

# Node itself is in the virtual environment.
$(NODE)/node_modules/.installed: $(NODE)/package-lock.json $(VENV)/.installed
	PATH=$(VENV)/bin:$$PATH npm ci --prefix $(NODE) --silent --no-audit --no-fund
	touch $@

$(TOOLS)/bin/cargo-audit: VERSION = $(CARGO_AUDIT_VERSION)
$(TOOLS)/bin/cargo-deny: VERSION = $(CARGO_DENY_VERSION)
$(TOOLS)/bin/gungraun-runner: VERSION = $(GUNGRAUN_VERSION)
# Unoptimised: they build in a third of the time, and run for a second.
$(TOOLS)/bin/%:
	CARGO_TARGET_DIR=$(TOOLS)/build CARGO_PROFILE_DEV_DEBUG=0 \
	  cargo install --locked --debug --root $(TOOLS) $*@$(VERSION)
	rm -rf $(TOOLS)/build

$(TOOLS)/advisory-db/.unpacked: operations/advisory-db/advisory-db.tar.gz
	rm -rf $(@D)
	mkdir -p $(@D)
	tar -xzf $< -C $(@D)
	touch $@
