# Everything a fresh machine needs is in this file: `make demo`, `make test`.
GO          ?= go
VERSION     ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
STATICCHECK ?= honnef.co/go/tools/cmd/staticcheck@v0.8.2
export CGO_ENABLED = 0

.PHONY: build demo test lint bench fuzz clean peers

build: ## the static, stripped binary ./ssh-stay
	$(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o ssh-stay .

demo: build ## ssh behind an idle firewall, with and without ssh-stay
	./ssh-stay demo

peers: ## install what the tests talk to, as root; else name what is missing
	./testdata/peers.sh

# -p 1: the packages' tests start servers and measure silence; two cores.
test: peers ## all tests
	$(GO) test -p 1 -count=1 -timeout 12m ./...

lint: ## gofmt, vet on three systems, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	$(GO) vet ./...
	GOOS=darwin $(GO) vet ./...
	GOOS=windows $(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

bench: peers ## ratios against stock OpenSSH, written to BENCH.md
	$(GO) run ./internal/bench

fuzz: ## each native fuzz target for a minute
	@for t in $$(grep -rho --include='*_test.go' 'func Fuzz[A-Za-z]*' config auth | cut -c6- | sort -u); do \
		pkg=$$(grep -rl --include='*_test.go' "func $$t(" config auth | xargs -n1 dirname); \
		$(GO) test ./$$pkg -run '^$$' -fuzz "^$$t\$$" -fuzztime 60s || exit 1; done

clean:
	rm -f ssh-stay
