# Everything a fresh machine needs is in this file: `make demo`, `make test`.
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
export CGO_ENABLED = 0

.PHONY: build man relays release demo test lint bench load fuzz soak faults-long vscode vscode-table clean peers

build: ## the static, stripped binary ./ssh-stay
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o ssh-stay .

man: ## man pages in dist/man
	$(GO) run -tags man -ldflags "-X main.version=$(VERSION)" . man dist/man

# No version and no -buildvcs: a relay that did not change keeps its hash, and is not uploaded again.
RELAYS = linux-amd64 linux-arm64 darwin-amd64 darwin-arm64
relays: ## the small far ends that a build with -tags relays carries
	rm -rf relay/bin && mkdir relay/bin
	@for p in $(RELAYS); do echo stay-relay-$$p; \
		GOOS=$${p%-*} GOARCH=$${p#*-} $(GO) build -trimpath -buildvcs=false -ldflags "-s -w" \
			-o relay/bin/stay-relay-$$p ./relay/stay-relay || exit 1; done
	cd relay/bin && { sha256sum stay-relay-* 2>/dev/null || shasum -a 256 stay-relay-*; } >SHA256SUMS
	gzip -9n relay/bin/stay-relay-*
	@ls -l relay/bin

RELEASES = $(RELAYS) windows-amd64 windows-arm64
release: relays ## static binaries with relays for all systems in dist/
	rm -rf dist && mkdir dist
	@for p in $(RELEASES); do echo ssh-stay-$$p; case $$p in windows-*) exe=.exe;; *) exe=;; esac; \
		GOOS=$${p%-*} GOARCH=$${p#*-} $(GO) build -tags relays -trimpath \
			-ldflags "-s -w -X main.version=$(VERSION)" -o dist/ssh-stay-$$p$$exe . || exit 1; done
	cd dist && { sha256sum ssh-stay-* 2>/dev/null || shasum -a 256 ssh-stay-*; } >SHA256SUMS

demo: build ## ssh behind an idle firewall, with and without ssh-stay
	./ssh-stay demo

peers: ## install what the tests talk to, as root; else name what is missing
	./testdata/peers.sh

# Two packages at once, for two cores: most of their tests wait. The faults have
# the machine to themselves. The relay once more as a release carries it.
test: peers relays ## all tests
	$(GO) test -p 2 -parallel 5 -count=1 -timeout 15m $$($(GO) list ./... | grep -v '/faults$$')
	$(GO) test -count=1 -timeout 10m ./internal/faults
	$(GO) test -tags relays -count=1 -run 'Upload|Install|Client' ./relay

lint: relays ## gofmt, vet on three systems, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	$(GO) vet -tags relays ./relay
	$(GO) vet -tags man .
	$(GO) run $(STATICCHECK) ./...

bench: peers ## ratios against stock OpenSSH, written to BENCH.md: half an hour
	./testdata/peers.sh bench
	$(GO) run ./internal/bench

FUZZTIME ?= 60s
# Two at once, a worker each.
fuzz: ## each native fuzz target for FUZZTIME
	@grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's,/[^/]*:func , ,' | \
		GO=$(GO) xargs -P 2 -L 1 sh -c './testdata/fuzz.sh "$$0" "$$1" $(FUZZTIME)'

load: peers ## hundreds of sessions: idle, bulk, starts, a slow reader; written to docs/load.md: 45 minutes
	$(GO) run ./internal/load -out docs/load.md

# A seed a millisecond and core, about. Each run begins at another one.
SEEDS ?= 2000000
SEED  ?= $(shell date +%s)000
RUNS  ?= 50
soak: peers ## every fault RUNS times at random moments, and the stream under millions of seeds
	FAULTS_RUNS=$(RUNS) FAULTS_SEED=$(SEED) FAULTS_TABLE=$(CURDIR)/docs/faults.md $(GO) test ./internal/faults -run 'TestMatrix$$' -count=1 -timeout 0 -v
	STREAM_SEEDS=$(SEEDS) STREAM_SEED=$(SEED) $(GO) test ./stream -run 'TestSimulation$$' -count=1 -timeout 0 -v

faults-long: peers ## every fault once, with outages as long as they are in life: 11 minutes
	FAULTS_LONG=1 $(GO) test ./internal/faults -run 'TestMatrix$$' -count=1 -timeout 45m -v

vscode-table: peers ## the table of docs/vscode.md, in real time: 4 minutes
	VSCODE_TABLE=1 $(GO) test ./internal/vscode -run 'TestTable$$' -count=1 -timeout 25m -v

VSCODE_SERVER ?= $(HOME)/.cache/ssh-stay-test/vscode-server
vscode: peers ## Remote-SSH's protocol against the real VS Code server, which takes node 20 and npm
	./testdata/vscode-server.sh $(VSCODE_SERVER)
	VSCODE_SERVER=$(VSCODE_SERVER) $(GO) test -count=1 -run TestReal ./internal/vscode/...

clean:
	rm -rf ssh-stay dist relay/bin
