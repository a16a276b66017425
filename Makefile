# make up     sets this machine up and runs a first VM (README)
# make test   runs every check and every test
# make down   stops the daemon; VMs run on
# make purge  asks, then removes everything

GO_BUILD = env CGO_ENABLED=0 go build -trimpath -ldflags='-s -w'

.PHONY: up down purge build test docs check vuln fuzz sweep clean

up: build
	@bin/coppice up

down: build
	@bin/coppice down

purge: build
	@bin/coppice purge

# The image's id depends on the agent's bytes, and they on its source alone:
# no commit is stamped into it.
build:
	@scripts/step 'guest agent' $(GO_BUILD) -buildvcs=false -o bin/coppice-agent ./cmd/coppice-agent
	@scripts/step 'coppice' $(GO_BUILD) -o bin/coppice ./cmd/coppice

test: build
	@scripts/test

docs:
	@go test ./cmd/coppice -run TestReferences -update

check:
	@scripts/check

# Needs the internet: no part of check.
vuln:
	@scripts/vuln

fuzz:
	@scripts/fuzz 60s

sweep:
	@scripts/sweep . -all -cycles 2000 -model-time 1m

clean:
	@rm -rf bin
