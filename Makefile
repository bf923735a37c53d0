# `make run` starts everything; `make test` sets up what tests need and runs them all. `make help` lists the rest.

CARGO ?= cargo
TOOLS := .tools
VENV := $(TOOLS)/venv
PYTHON_READY := $(VENV)/.ready
DENY_READY := $(TOOLS)/.deny
DATA ?= data

.PHONY: help run test lint bench chaos spark minio kafka-tls fmt
.DEFAULT_GOAL := help

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## start the whole pipeline with a demo fleet, under DATA=data
	@scripts/need cargo cc java mvn
	$(CARGO) build --bin agentworks
	@exec target/debug/agentworks dev --demo --data $(DATA)

test: $(PYTHON_READY) ## all tests, against real services
	@scripts/need cargo cc java mvn python3
	@scripts/install-spark $(TOOLS) || true
	AGENTWORKS_PYTHON=$(abspath $(VENV))/bin/python $(CARGO) test --workspace

lint: $(DENY_READY) ## formatting, clippy, licences and dependencies
	@scripts/need cargo cc
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@scripts/deny

bench: ## figures as ratios, measured side by side; in a release build
	@scripts/need cargo cc java mvn
	$(CARGO) bench --bench bench

chaos: ## kill and restart for minutes; not part of `make test`
	@scripts/need cargo cc java mvn
	AGENTWORKS_KILLS=50 $(CARGO) test --test suite -- --nocapture kill::
	AGENTWORKS_CHAOS=1 $(CARGO) test --test suite -- --nocapture store::migrations::
	AGENTWORKS_CHAOS=1 RUST_LOG=error $(CARGO) test --test exactness -- --nocapture --test-threads=1

spark: $(PYTHON_READY) ## PySpark, for the tests of documented analyses; `make test` goes on without it, this fails
	@scripts/install-spark $(TOOLS)

minio: $(TOOLS)/minio ## an S3 server for the tests that use one if it is there; needs Go, and some minutes

$(TOOLS)/minio: scripts/install-minio
	scripts/install-minio $(TOOLS)
	@touch $@

kafka-tls: ## TLS and SCRAM towards Kafka, which need OpenSSL's headers (Debian: libssl-dev) at build
	@scripts/need cargo cc java mvn
	$(CARGO) test --features kafka-tls --test suite -- roles::

fmt: ## format everything
	$(CARGO) fmt --all

$(PYTHON_READY): tests/python/requirements.txt
	@scripts/need python3
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --requirement $<
	@touch $@

$(DENY_READY): scripts/install-deny
	@scripts/need cargo cc
	scripts/install-deny $(TOOLS)
	@touch $@
