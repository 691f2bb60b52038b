# Included by the top Makefile. The lab's own program runs on the system's Python alone.
LAB := python3 deploy/lab/lab.py

## make guests      build the guests of deploy/guests
.PHONY: guests
guests:
	@$(LAB) packages
	$(MAKE) -C deploy/guests

## make hotplug     build the dom0's own programs of deploy/dom0
.PHONY: hotplug
hotplug:
	@$(LAB) packages
	$(MAKE) -C deploy/dom0

## make lab         a real Xen dom0, emulated: built once, booted, its agent joined to a controller
.PHONY: lab
lab: setup guests hotplug
	$(LAB) start
	$(LAB) join

## make lab-test    real domUs on the lab's dom0, from apply to removal; starts the lab if need be
.PHONY: lab-test
lab-test: setup-dev lab
	$(BIN)/pytest -q --durations=20 -m "lab and not lab_long" tests/lab

## make lab-test-long  the same, with whole contracts and every step at which an agent may be killed
.PHONY: lab-test-long
lab-test-long: setup-dev lab
	$(BIN)/pytest -q --durations=20 -m lab tests/lab

## make lab-bench   figures of a dense dom0 on the lab's: DOMUS=250 SOAK=30 (minutes)
DOMUS ?= 250
SOAK ?= 0
.PHONY: lab-bench
lab-bench: setup-dev lab
	$(BIN)/python -m tests.lab.bench --domus $(DOMUS) --soak $(SOAK)

## make lab-ssh     a shell in the lab's dom0: RUN="xl list" for one command
RUN ?=
# By the environment: the shell here reads nothing of it, the one in the dom0 all.
lab-ssh: export RUN := $(value RUN)
.PHONY: lab-ssh
lab-ssh:
	@$(LAB) ssh $${RUN:+"$$RUN"}

## make lab-stop    stop the lab and drop its disks
.PHONY: lab-stop
lab-stop:
	$(LAB) stop
