# Included by the top Makefile.
NETBOOT ?= dist/netboot

## make netboot     one image for all dom0s, to boot over the network: NETBOOT_PACKAGES="more of Debian's"
.PHONY: netboot
netboot:
	$(MAKE) deb SERIES=trixie
	@deploy/netboot/build.py dist/debian/trixie $(NETBOOT)

## make netboot-test boot that image in an emulated machine, join, run a VM, boot again: as root
.PHONY: netboot-test
netboot-test: setup-dev guests netboot
	@unshare --net $(BIN)/pytest -q -s -m netboot tests/netboot
