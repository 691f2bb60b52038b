# Included by the top Makefile. The lab's own program runs on the system's Python alone.
LAB := python3 deploy/lab/lab.py

## make guests      build the guests of deploy/guests
.PHONY: guests
guests:
	@$(LAB) packages
	$(MAKE) -C deploy/guests

## make lab         a real Xen dom0, emulated: built once, booted, its agent joined to a controller
.PHONY: lab
lab: setup guests
	$(LAB) start
	$(LAB) join

## make lab-test    real domUs on the lab's dom0, from apply to removal; starts the lab if need be
.PHONY: lab-test
lab-test: setup-dev lab
	$(BIN)/pytest -q -m lab tests/lab

## make lab-ssh     a shell in the lab's dom0: RUN="xl list" for one command
RUN ?=
.PHONY: lab-ssh
lab-ssh:
	@$(LAB) ssh $(RUN)

## make lab-stop    stop the lab and drop its disks
.PHONY: lab-stop
lab-stop:
	$(LAB) stop
