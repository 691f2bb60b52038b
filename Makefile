# Each target installs what it needs: as root, or through sudo.
.DEFAULT_GOAL := help
SHELL := /bin/sh
BIN := .venv/bin

.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make demo        a million VMs on 4,480 hollow hosts here: HOSTS=448 TOTAL=100000 for less
HOSTS ?=
TOTAL ?=
.PHONY: demo
demo: setup
	@$(BIN)/fleetctl sandbox demo $(if $(HOSTS),--hosts $(HOSTS)) $(if $(TOTAL),--total $(TOTAL))

## make demo-real   real Linux kernels on this machine, in QEMU, with KVM or without: VMS=20
VMS ?=
.PHONY: demo-real
demo-real: setup
	@$(BIN)/fleetctl sandbox demo --real $(VMS)

## make setup       install what running needs: etcd, uv, the locked environment in .venv
.PHONY: setup
setup:
	@deploy/setup.sh run

.PHONY: setup-dev
setup-dev:
	@deploy/setup.sh dev

## make test        formatting, lint, types, import contracts, stubs, all tests
.PHONY: test
test: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	sh proto/generate.sh --check
	$(BIN)/pytest -q -n 2 --durations=20

## make bench       measure and print one table, with its conditions; JSON in bench.json
.PHONY: bench
bench: setup-dev
	$(BIN)/python -m tests.bench

## make real-test   real kernels in QEMU on this machine, the short run and the long one: HELD_CLONES=250 HELD_MINUTES=30
.PHONY: real-test
real-test: setup-dev
	HELD_CLONES=$(or $(HELD_CLONES),250) HELD_MINUTES=$(or $(HELD_MINUTES),30) \
		$(BIN)/pytest -q -m "real or real_long" tests/real

## make real-bench  figures of real kernels: VMS=20 (0: none boot) HELD=50 CLONES=250 HELD_CLONES=400 RESTORES=3; JSON in real-bench.json
HELD ?=
CLONES ?=
HELD_CLONES ?=
HELD_MINUTES ?=
RESTORES ?=
.PHONY: real-bench
real-bench: setup-dev
	$(BIN)/python -m tests.bench.real $(if $(VMS),--vms $(VMS)) $(if $(HELD),--held $(HELD)) \
		$(if $(CLONES),--clones $(CLONES)) $(if $(HELD_CLONES),--held-clones $(HELD_CLONES)) \
		$(if $(RESTORES),--restores $(RESTORES))

## make sim         play simulated clusters against faults: SEEDS=200 MINUTES=10 HOSTS=50 FIRST=seed
SEEDS ?= 200
FIRST ?=
.PHONY: sim
sim: setup-dev
	@$(BIN)/python -m tests.simulation --seeds $(SEEDS) --minutes $(or $(MINUTES),10) \
		$(if $(HOSTS),--hosts $(HOSTS)) $(if $(FIRST),--first $(FIRST))

## make chaos       kills, stops and partitions at random on real processes: MINUTES= SEED= HOSTS=
MINUTES ?=
SEED ?=
.PHONY: chaos
chaos: setup-dev
	$(BIN)/python -m tests.chaos --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(HOSTS),--hosts $(HOSTS))

## make fuzz        mutated messages to real processes, mutated bytes to parsers: MINUTES= SEED= PARSER=
SEED ?=
PARSER ?=
.PHONY: fuzz
fuzz: setup-dev
	@$(if $(PARSER),.tools/bin/uv pip install -q --require-hashes -r deploy/fuzz.lock)
	@$(BIN)/python -m tests.fuzz --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) \
		$(if $(PARSER),--parser "$(PARSER)")

## make proto       regenerate the committed stubs from proto/**/*.proto
.PHONY: proto
proto: setup-dev
	sh proto/generate.sh

## make page        type-check and build the page of fleetctl wall into what is committed: needs Node
.PHONY: page
page:
	cd controller/fleetctl/wall/page && npm ci && LC_ALL=C npm run build

## make man         write the manual pages of fleetctl and its commands: MAN=man
MAN ?= man
.PHONY: man
man: setup
	@$(BIN)/python -m fleetctl.manual $(MAN)

## make lock        resolve pyproject.toml into the lock files anew: UPGRADE=--upgrade for the newest
UPGRADE ?=
.PHONY: lock
lock: setup
	deploy/lock.sh $(UPGRADE)

## make deb         Debian packages in dist/debian: SERIES=bookworm or trixie, this machine's if not said
SERIES ?=
.PHONY: deb
deb: setup
	@deploy/packages/build.sh $(SERIES)

## make deb-repo    a signed repository of them in dist/apt: KEY=fingerprint of a secret key of gpg
KEY ?=
.PHONY: deb-repo
deb-repo:
	@deploy/packages/repository.sh "$(KEY)"

## make deb-test    install, found, run VMs, upgrade, purge, under systemd in a container: as root
.PHONY: deb-test
deb-test:
	@deploy/packages/prove.sh $(SERIES)

## make walk-test   README's chapter on a real cluster, word for word, in five containers: as root
.PHONY: walk-test
walk-test:
	@deploy/packages/walk.sh $(SERIES)

## make rootfs-test make demo and sandbox on fresh Debian 12 and 13 roots, as root and as a user
.PHONY: rootfs-test
rootfs-test:
	deploy/rootfs/prove.sh

-include deploy/netboot/netboot.mk
-include deploy/lab/lab.mk
