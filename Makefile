# make alone prints what there is to make.

BIN        := bin
BUILD      := build
TOOLS      := $(BUILD)/tools
GO         ?= go
VERSION    ?=
CUTS       ?= 100000
SIM        ?= 1000000
SIMDISKS   ?= 50000
FUZZTIME   ?= 30s
ROUNDS     ?= 50
SEED       ?= 0
BENCHFLAGS ?=
WITHOUT    ?=
A          :=
B          :=
PREFIX     ?= /usr
BINDIR     ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/belay
DATADIR    ?= $(PREFIX)/share
UNITDIR    ?= $(PREFIX)/lib/systemd/system
QEMUDIR    ?= /usr/share/qemu/vhost-user

# -s and -w are left out on purpose: probes find their places by the symbol table.
LDFLAGS := $(if $(VERSION),-X main.release=$(VERSION))
# A checkout of another user's is one that git will not speak about, and go would stop at that.
VCS     := $(shell git status --porcelain >/dev/null 2>&1 || echo -buildvcs=false)
BELAY   := $(CURDIR)/$(BIN)/belay
CRASH   := $(BIN)/crashtest --belay $(BIN)/belay

.PHONY: help
help:
	@echo 'Nothing was made. What there is:'
	@echo
	@echo '  make demo      see it work: a guest, a checkpoint, a rollback'
	@echo '  make demo-colo see a mirrored pair work: kill -9 of a guest'"'"'s host, the other goes on (root)'
	@echo '  make test      everything that must pass before a change goes in (under 20 minutes)'
	@echo
	@echo '  make setup     install what is missing on a Debian machine that has Go'
	@echo '  make build     bin/belay and the tools'
	@echo '  make lint      gofmt, vet, staticcheck, errcheck and the house rules'
	@echo '  make unit      go test ./...'
	@echo '  make race      the same under the race detector, in short form'
	@echo '  make e2e       tests with a real guest in QEMU'
	@echo '  make e2e-colo  those of them with a guest on two hosts (root)'
	@echo '  make kill      kill -9 of the real daemon under load, $(ROUNDS) rounds (ROUNDS=) and 5 with a guest'
	@echo '  make kill-colo a host of a pair killed at steps of a checkpoint, $(ROUNDS) rounds (ROUNDS=, SEED=; root)'
	@echo '  make crash     $(CUTS) power cuts on a disk that lies (CUTS=)'
	@echo '  make sim       $(SIM) checkpoints of a simulated pair with faults (SIM=), and $(SIMDISKS) of one that'
	@echo '                 is real but for QEMU, the network and the disks (SIMDISKS=)'
	@echo '  make bench     belay beside qemu-storage-daemon and fio: half an hour on an idle machine, then'
	@echo '                 the figures of the store itself; saved below bench/ (BENCHFLAGS=--help)'
	@echo '  make bench-compare   two results side by side (A= B=; otherwise the two newest)'
	@echo '  make pair-bench      a mirrored pair beside QEMU'"'"'s block replication: ten minutes on an idle machine, as root;'
	@echo '                 saved below bench/pair/ (BENCHFLAGS=--help)'
	@echo '  make trace-bench     what it costs to be traced, and the tracer beside the load generator; five minutes'
	@echo '                 (WITHOUT=, a belay without probe points, to compare with)'
	@echo '  make trace-picture   trace a guest and draw the picture of the README'
	@echo '  make fuzz      every fuzz target for $(FUZZTIME) (FUZZTIME=)'
	@echo '  make golden    write the golden files anew; read the difference before you commit it'
	@echo '  make generate  compile the eBPF programs anew; the objects are committed'
	@echo '  make man       manual pages and shell completions, under build/'
	@echo '  make install   into $$(DESTDIR)$(PREFIX), description for QEMU included'
	@echo '  make clean     remove bin/ and what was built under build/; fetched things stay'

.PHONY: setup
setup:
	@scripts/setup

.PHONY: build
build:
	$(GO) build $(VCS) -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/... ./tools/...

.PHONY: test
test: setup
	@scripts/test

.PHONY: lint
lint:
	@scripts/lint

.PHONY: unit
unit:
	$(GO) test -timeout 10m ./...

.PHONY: race
race:
	$(GO) test -race -short -timeout 15m \
		-skip 'TestOrdering|TestCrash|TestFault|TestModel|Alloc|TestSimAgain|TestSimBroken' ./...

.PHONY: e2e
e2e: build
	BELAY=$(BELAY) $(GO) test -tags e2e -count=1 -v -timeout 25m ./e2e

.PHONY: e2e-colo
e2e-colo: build
	BELAY=$(BELAY) $(GO) test -tags e2e -count=1 -v -timeout 60m -run TestColo ./e2e

.PHONY: kill-colo
kill-colo: build
	BELAY=$(BELAY) $(GO) test -tags e2e -count=1 -v -timeout 0 -run TestColoSteps ./e2e \
		-colo.rounds=$(ROUNDS) -colo.seed=$(SEED)

.PHONY: kill
kill: build
	$(CRASH) --rounds $(ROUNDS)
	$(CRASH) --rounds $(ROUNDS) --packed --queues 4
	$(CRASH) --rounds 5 --guest
	$(CRASH) --rounds 5 --guest --packed

.PHONY: crash
crash:
	$(GO) test ./checkpoint -run TestCrash -count=1 -v -timeout 0 -crash.cuts=$(CUTS)

.PHONY: sim
sim:
	$(GO) test ./colo/sim -run TestSim -count=1 -v -timeout 0 -sim.checkpoints=$(SIM)
	$(GO) test ./internal/pair -run TestSim$$ -count=1 -v -timeout 0 -sim.checkpoints=$(SIMDISKS)

.PHONY: fuzz
fuzz:
	@scripts/fuzz $(FUZZTIME)

# Packages whose tests have golden files define the flag -update.
.PHONY: golden
golden:
	$(GO) test $$(grep -rl --include='*_test.go' '"update"' . | xargs -n 1 dirname | sort -u) -update

.PHONY: bench
bench: build
	@$(BIN)/bench run $(BENCHFLAGS)

.PHONY: bench-compare
bench-compare: build
	@$(BIN)/bench compare $(A) $(B)

.PHONY: pair-bench
pair-bench: build
	@$(BIN)/pairbench $(BENCHFLAGS)

.PHONY: trace-bench
trace-bench: build
	@$(BIN)/bench trace $(if $(WITHOUT),--without $(WITHOUT)) $(BENCHFLAGS)

.PHONY: trace-picture
trace-picture: build
	BELAY=$(BELAY) $(GO) test -tags e2e -count=1 -v ./e2e -run TestTraceGuest \
		-trace.picture=$(CURDIR)/docs/img/trace.svg

.PHONY: demo
demo:
	@scripts/demo

.PHONY: demo-colo
demo-colo:
	@scripts/demo-colo

.PHONY: generate
generate:
	@scripts/generate

.PHONY: man
man: build
	@rm -rf $(BUILD)/man $(BUILD)/completion
	@mkdir -p $(BUILD)/man $(BUILD)/completion
	$(BIN)/belay man $(BUILD)/man
	$(BIN)/belay completion bash >$(BUILD)/completion/belay
	$(BIN)/belay completion zsh >$(BUILD)/completion/_belay
	$(BIN)/belay completion fish >$(BUILD)/completion/belay.fish

# QEMU's description files name a program without arguments: under the name vhost-user-blk
# belay is the verb of that name.
.PHONY: install
install: man
	install -D $(BIN)/belay $(DESTDIR)$(BINDIR)/belay
	install -d $(DESTDIR)$(LIBEXECDIR) $(DESTDIR)$(QEMUDIR) $(DESTDIR)$(UNITDIR)
	ln -sfn $(BINDIR)/belay $(DESTDIR)$(LIBEXECDIR)/vhost-user-blk
	sed 's|@libexecdir@|$(LIBEXECDIR)|' packaging/50-belay.json.in >$(DESTDIR)$(QEMUDIR)/50-belay.json
	for unit in packaging/belay*@.*; do \
		sed 's|/usr/bin/belay|$(BINDIR)/belay|' $$unit >$(DESTDIR)$(UNITDIR)/$${unit##*/}; done
	install -d $(DESTDIR)$(DATADIR)/man/man1
	install -m 644 $(BUILD)/man/*.1 $(DESTDIR)$(DATADIR)/man/man1/
	install -D -m 644 $(BUILD)/completion/belay $(DESTDIR)$(DATADIR)/bash-completion/completions/belay
	install -D -m 644 $(BUILD)/completion/_belay $(DESTDIR)$(DATADIR)/zsh/site-functions/_belay
	install -D -m 644 $(BUILD)/completion/belay.fish $(DESTDIR)$(DATADIR)/fish/vendor_completions.d/belay.fish

.PHONY: clean
clean:
	rm -rf $(BIN) $(BUILD)/man $(BUILD)/completion $(BUILD)/guest/initrd-* $(BUILD)/guest/accel-*
