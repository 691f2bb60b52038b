# make demo · make test · make lab · make bench: each installs what it needs.
.DEFAULT_GOAL := help
PYTHON := .venv/bin/python

.PHONY: help
help:
	@sed -n 's/^## //p' $(MAKEFILE_LIST)

## make proto       regenerate the committed stubs from proto/**/*.proto
.PHONY: proto
proto:
	sh proto/generate.sh
