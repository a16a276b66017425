# make up     sets this machine up and runs a first VM (README)
# make test   runs every check and every test
# make down   stops the daemon; VMs run on
# make purge  asks, then removes everything

GO_BUILD = env CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags='-s -w $(1)'

.PHONY: up down purge build deb test-deb test docs check vuln fuzz sweep clean

up: build
	@bin/coppice up

down: build
	@bin/coppice down

purge: build
	@bin/coppice purge

# The image's id depends on the agent's bytes, and they on its source alone:
# no version is stamped into it.
build:
	@scripts/step 'guest agent' $(GO_BUILD) -o bin/coppice-agent ./cmd/coppice-agent
	@scripts/step 'coppice' $(call GO_BUILD,-X main.release=$(shell scripts/version)) -o bin/coppice ./cmd/coppice

# The version is that of the last commit, and so are all times in the package:
# the same commit makes the same bytes.
deb: build
	@rm -rf bin/*.deb bin/manual
	@scripts/step 'manual' go test ./cmd/coppice -count=1 -run TestManual -out $(CURDIR)/bin/manual
	@gzip -9nf bin/manual/man/*.1
	@scripts/step 'package' scripts/deb

test-deb: deb
	@scripts/test-deb

test: build
	@scripts/test

docs:
	@go test ./cmd/coppice -run TestReferences -update

check:
	@scripts/check

vuln:
	@scripts/vuln

fuzz:
	@scripts/fuzz 60s

sweep: build
	@GOFLAGS="$$(go env GOFLAGS) -race" scripts/sweep . -all -cycles 2000 -model-time 1m
	@go test -v -timeout 30m -run 'DiesAtPoints' ./e2e -deaths 100
	@go test -v -timeout 60m -run TestLeaks ./e2e -cycles 200
	@go test -v -timeout 30m -run TestModel ./e2e -model-time 3m

clean:
	@rm -rf bin
