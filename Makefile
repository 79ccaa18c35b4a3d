# Heddle's tasks. `make help` lists them; every line with ## is one.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:

# Where we are, as `heddle --version` says it; outside a checkout it is "dev".
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -X main.version=$(VERSION)

# Packages and flags of `make test`, as in: make test PKG=./store/... RUN=Tenancy
PKG ?= ./...
RUN ?=
TEST_FLAGS ?= -race -shuffle=on

# Build flags of `make lint`. `make test` lints with those of its tests, so that
# every dependency is compiled once, not once plain and once for the race detector.
LINT_FLAGS ?=

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- use it ----------------------------------------------------------------

.PHONY: run
run: setup assets build ## install what is missing, build, serve on http://localhost:8080
	@exec bin/heddle serve

.PHONY: setup
setup: ## install what running needs: PostgreSQL, Node
	@scripts/setup.sh run

.PHONY: build
build: ## bin/heddle, one static binary with the assets of static/dist inside
	CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o bin/heddle ./cmd/web

.PHONY: migrate
migrate: build ## bring the database to the schema of this checkout
	bin/heddle migrate

.PHONY: image
image: ## a container image, heddle:VERSION
	docker build --build-arg VERSION=$(VERSION) -t heddle:$(VERSION) -t heddle:latest .

# --- work on it ------------------------------------------------------------

.PHONY: dev
dev: setup assets ## serve, and start again when a .go or .templ file changes
	HEDDLE_STATIC_DIR=static/dist go tool templ generate --watch --cmd 'go run ./cmd/web serve'

.PHONY: assets
assets: ## static/dist from static/src and the libraries of package.json
	@go run ./static/build

.PHONY: generate
generate: ## everything that is generated and committed: views, references in docs, .env.example
	go tool templ generate
	go generate ./...

.PHONY: fmt
fmt: ## format Go and templ
	@scripts/verify.sh list | xargs gofmt -w
	go tool templ fmt .

.PHONY: clean
clean: ## remove what was built; the data in var stays
	rm -rf bin .cache coverage static/node_modules internal/contract/*/node_modules
	@if [ -d static/dist ]; then find static/dist -mindepth 1 ! -name .keep -delete; fi

# --- check it --------------------------------------------------------------

.PHONY: test
test: setup-test assets verify ## all that CI runs; narrow it with PKG=./store/... RUN=Name
	@$(MAKE) --no-print-directory lint LINT_FLAGS='$(filter -race,$(TEST_FLAGS))'
	go test $(TEST_FLAGS) -vet=off $(if $(RUN),-run '$(RUN)') $(PKG)

.PHONY: setup-test
setup-test: ## install what testing needs: also Redis, Chromium, a C compiler
	@scripts/setup.sh test

# How long `make fuzz` stays with each target; RUN=Name narrows it.
FUZZTIME ?= 30s

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME, or those that RUN matches
	@FUZZTIME='$(FUZZTIME)' RUN='$(RUN)' scripts/fuzz.sh

# What `make chaos` makes its plan of faults from; it prints the one it chose. TIER=short takes a minute.
SEED ?= 0
TIER ?= long

.PHONY: chaos
chaos: setup-test assets ## ten minutes of faults on three nodes, with a report; SEED=n repeats a plan
	@mkdir -p bin && go build -o bin/chaos ./internal/chaos/cmd/chaos && exec bin/chaos -tier $(TIER) -seed $(SEED)

.PHONY: verify
verify: ## formatted, generated files fresh, go.mod tidy
	@scripts/verify.sh

.PHONY: lint
lint: ## go vet and staticcheck
	GOFLAGS='$(strip $(GOFLAGS) $(LINT_FLAGS))' go vet $(PKG)
	@staticcheck=$$(go tool -n staticcheck) && echo "staticcheck $(PKG)" && \
		GOFLAGS='$(strip $(GOFLAGS) $(LINT_FLAGS))' "$$staticcheck" $(PKG)
	cd bench && GOFLAGS='$(strip $(GOFLAGS) $(LINT_FLAGS))' go vet ./...

# --- measure it ------------------------------------------------------------

# Flags of `make bench`, as in: make bench BENCH="-rows fanout -sockets 500"
BENCH ?=

.PHONY: bench
bench: setup-test assets ## runs and fan-out beside the least this machine can do, as ratios
	cd bench && go build -o ../bin/bench . && exec ../bin/bench $(BENCH)
