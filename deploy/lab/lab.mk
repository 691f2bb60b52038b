# Included by the top Makefile.
LAB := python3 deploy/lab/lab.py

## make guests      build the guests of deploy/guests
.PHONY: guests
guests:
	$(MAKE) -C deploy/guests

## make lab-ssh     a shell in the lab's dom0 (RUN="xl list" for one command)
.PHONY: lab-ssh
lab-ssh:
	$(LAB) ssh $(RUN)

## make lab-stop    stop the lab and drop its disks
.PHONY: lab-stop
lab-stop:
	$(LAB) stop
