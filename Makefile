# mailhatch. `make run` and `make test` are all the set-up there is; `make help` lists the rest.
VERSION := 0.1.0
B ?= build
CC := $(if $(filter default,$(origin CC)),gcc,$(CC))
PYTHON ?= /usr/bin/python3
# `make V=1` shows each command; else one short line a file.
Q = $(if $(V),,@echo '  $(if $(filter %.o,$@),CC,LD)  $@';)

PKGS := libmicrohttpd gnutls libssl libcrypto libcjson libidn2 yaml-0.1 zlib
ARCH := $(shell uname -m)
WARN := -Wall -Wextra -Wpedantic -Wswitch-enum -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
WARN += $(if $(WERROR),-Werror)         # CI sets it: another compiler's new warning stops nobody else's build
HARD := -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -fstack-clash-protection
HARD += $(if $(filter x86_64,$(ARCH)),-fcf-protection) $(if $(filter aarch64,$(ARCH)),-mbranch-protection=standard)
OPT ?= -O2 -g
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -DMAILHATCH_VERSION='"$(VERSION)"' -I. $(WARN) $(OPT) $(HARD) $(SAN) \
	$(shell pkg-config --cflags $(PKGS) 2>/dev/null) -MMD -MP
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(SAN) $(LDFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread
LIBS_CHECK = $(shell pkg-config --libs check 2>/dev/null) -lm

SRC := $(sort $(wildcard smtp/*.c service/*.c api/*.c))
OBJ = $(SRC:%.c=$(B)/obj/%.o) $(B)/obj/gen/openapi.o
LIBOBJ = $(filter-out $(B)/obj/service/main.o,$(OBJ))
# One libcheck program for each tests/unit/test_NAME.c; what they share are the other tests/unit/*.c.
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
UNITLIB := $(patsubst tests/unit/%.c,$(B)/obj/tests/unit/%.o,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))
FUZZ := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
FUZZ_SECONDS ?= 60
MIME_MAILS ?= 10000

# As many compilers as there are processors, unless -j says otherwise.
ifeq ($(filter -j%,$(MAKEFLAGS)),)
MAKEFLAGS += -j$(shell nproc 2>/dev/null || echo 1)
endif

.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/mailhatch                     ## build build/mailhatch

help:                                   ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## */\t/' | expand -t 16

run: deps                               ## install what is missing, build, start the gateway with its sandbox relay
	@$(MAKE) --no-print-directory all
	$(B)/mailhatch --sandbox

test: deps-test                         ## install what is missing, build, run every test
	@$(MAKE) --no-print-directory check

PARTS := check-lint check-unit check-mime check-json check-e2e check-openapi check-deploy
check: all                              ## every test, without installing anything; T=NAME: one unit program or end-to-end file, K=PATTERN: of its tests
ifdef T
	@$(MAKE) --no-print-directory check-one
else
	@set -e; for part in $(PARTS); do $(MAKE) --no-print-directory $$part; done
	@echo "all tests passed"
endif

ONE_UNIT = $(filter %/test_$(T:test_%=%),$(UNIT))
ONE_E2E = $(wildcard tests/e2e/test_$(patsubst test_%,%,$(T:%.py=%)).py)
check-one: $(if $(T),$(ONE_UNIT)) $(B)/mailhatch
	@[ -n "$(ONE_UNIT)$(ONE_E2E)" ] || { echo "no unit program and no end-to-end file is called $(T)" >&2; exit 1; }
	$(if $(ONE_UNIT),$(if $(K),$(if $(ONE_E2E),@:,CK_RUN_CASE='$(K)' $(PYTHON) tests/unit/run.py $(ONE_UNIT)), \
		$(PYTHON) tests/unit/run.py $(ONE_UNIT)))
	$(if $(ONE_E2E),$(PYTHON) tests/e2e/run.py --bin $(B)/mailhatch $(if $(K),-k '$(K)') $(notdir $(ONE_E2E)))

check-lint:                             ## the lints of the house, and the lints' own test
	$(PYTHON) tests/lint/test_house.py
	$(PYTHON) tests/lint/house.py

check-unit: $(UNIT)                     ## libcheck programs, side by side
	@$(PYTHON) tests/unit/run.py $(UNIT)

check-mime: $(B)/tests/compose          ## MIME_MAILS random mails and the hand-made ones, read back by four readers
	sh tests/mime/run.sh $(B)/tests/compose -n $(MIME_MAILS)

check-json: $(B)/mailhatch              ## some two thousand JSON documents, right and wrong, against the program
	$(PYTHON) tests/json/run.py --bin $(B)/mailhatch

check-e2e: $(B)/mailhatch               ## the program against misbehaving peers and real servers
	sh tests/e2e/install.sh
	$(PYTHON) tests/e2e/run.py --bin $(B)/mailhatch

check-openapi: $(B)/mailhatch           ## openapi.yaml: lint, and traffic against the running service
	sh tests/openapi/run.sh $(B)/mailhatch

check-deploy: $(B)/mailhatch            ## manual, completions, units, manifests, package: what is shipped beside the program
	sh tests/deploy/run.sh $(B)/mailhatch

image:                                  ## docker build -t mailhatch
	docker build -t mailhatch:$(VERSION) -t mailhatch .

check-image: $(B)/mailhatch             ## the container image: built, run, its mail looked at (some minutes; as root)
	sh tests/deploy/install.sh image
	$(PYTHON) tests/deploy/run.py --bin $(B)/mailhatch test_image.py

check-deb: $(B)/mailhatch               ## the Debian package: built, installed, upgraded, removed in a chroot (a minute; as root)
	sh tests/deploy/install.sh deb
	$(PYTHON) tests/deploy/run.py --bin $(B)/mailhatch test_debian.py

ASAN := B=build/asan MIME_MAILS=1500 SAN="-fsanitize=address,undefined -fno-sanitize-recover=all" OPT="-O1 -g"
TSAN := B=build/tsan SAN="-fsanitize=thread" OPT="-O1 -g"
check-asan: deps-test                   ## the suite under AddressSanitizer and UBSan
	@set -e; for part in check-unit check-mime check-json check-e2e; do $(MAKE) --no-print-directory $(ASAN) $$part; done
check-tsan: deps-test                   ## the suite under ThreadSanitizer
	@set -e; for part in check-unit check-e2e; do $(MAKE) --no-print-directory $(TSAN) $$part; done

fuzz: deps-test                         ## libFuzzer on each parser and on whole HTTP requests, FUZZ_SECONDS (60) each
	@$(MAKE) --no-print-directory B=build/fuzz CC=clang OPT="-O1 -g" HARD= \
		SAN="-fsanitize=address,undefined,fuzzer-no-link" fuzz-run
fuzz-run: $(FUZZ:%=$(B)/tests/%)
	@set -e; for f in $(FUZZ); do mkdir -p $(B)/corpus/$$f; echo "$$f: $(FUZZ_SECONDS) s"; \
		$(B)/tests/$$f -max_total_time=$(FUZZ_SECONDS) -verbosity=0 -print_final_stats=1 -timeout=10 -max_len=65536 \
		$(B)/corpus/$$f $$(ls -d tests/fuzz/corpus/$${f#fuzz_} 2>/dev/null); done

SOAK_SECONDS ?= 600
soak: deps-test                         ## SOAK_SECONDS (600) of bad relays, cuts at each byte, kills, stops, reloads: the relays' record against our answers (SOAK_SEED, SOAK_ARGS)
	@$(MAKE) --no-print-directory all
	SOAK_SECONDS=$(SOAK_SECONDS) $(PYTHON) tests/soak/soak.py --bin $(B)/mailhatch $(SOAK_ARGS)
soak-cut:                               ## bad relays only, with mails pipelined, and connections cut at random bytes
	@$(MAKE) --no-print-directory soak SOAK_ARGS="--depth 8 --cut $(SOAK_ARGS)"

soak-proxy: deps-test                   ## SOAK_SECONDS (600) of smuggling attempts and mails through nginx and haproxy
	@$(MAKE) --no-print-directory all
	sh tests/e2e/install.sh
	SOAK_SECONDS=$(SOAK_SECONDS) $(PYTHON) tests/soak/proxied.py --bin $(B)/mailhatch $(SOAK_ARGS)

bench: deps                             ## the load rig against the peers (see tests/bench/README.md)
	@$(MAKE) --no-print-directory all
	sh tests/bench/install.sh
	tests/bench/run.sh --rounds 3 --secs 4 --conns 16,64 --base go node go floor-w1 ours
	tests/bench/run.sh --secs 4 --conns 128,256,1000 ours
	tests/bench/run.sh --rtt 50 --warm 3 --secs 4 --conns 64 --base go node go ours
	MAILHATCH_RELAY_PIPELINE_DEPTH=8 tests/bench/run.sh --rtt 50 --warm 3 --secs 4 --conns 256 ours
	tests/bench/run.sh --rtt 50 --sessions 1000 --conns 1000 --warm 20 --secs 4 --base go go ours
	tests/bench/run.sh --secs 4 --conns 16 --payload 20k,1m --base go go ours
	tests/bench/run.sh --secs 4 --conns 64 --payload 1m,1m-form ours
	tests/bench/run.sh --cold 6 floor ours

bench-manners: deps                     ## no answer but 2xx from a relay that limits, closes or defers; beside a stuck relay
	@$(MAKE) --no-print-directory all
	sh tests/bench/install.sh
	@failed=0; for how in '-M 8' '-x 100' '-E 10'; do MAILHATCH_ON_TEMPORARY_FAILURE=retry tests/bench/run.sh --strict \
		--mails 100000 --secs 5 --conns 256 --sink-args "$$how" ours || failed=1; done; \
		tests/bench/isolation.sh && exit $$failed

# ---- installing ----

# `make install PREFIX=/usr DESTDIR=somewhere`. The configuration is below /etc whatever the prefix, as the unit reads it there.
PREFIX ?= /usr/local
SYSCONFDIR ?= /etc
BINDIR ?= $(PREFIX)/bin
SHARE := $(PREFIX)/share
UNITDIR ?= $(PREFIX)/lib/systemd/system
DOCDIR ?= $(SHARE)/doc/mailhatch
ZSHDIR ?= $(SHARE)/zsh/site-functions
INSTALLED = $(BINDIR)/mailhatch $(SHARE)/man/man8/mailhatch.8 $(SHARE)/man/man5/mailhatch.conf.5 \
	$(SHARE)/bash-completion/completions/mailhatch $(ZSHDIR)/_mailhatch \
	$(UNITDIR)/mailhatch.service $(UNITDIR)/mailhatch.socket
DOCS := README.md CHANGELOG.md SECURITY.md LICENSE openapi.yaml deploy/mailhatch.example.yaml $(wildcard docs/*.md)

install: all                            ## install into DESTDIR, below PREFIX (/usr/local): program, manual, completions, units, documentation
	install -D -m 755 $(B)/mailhatch $(DESTDIR)$(BINDIR)/mailhatch
	install -D -m 644 deploy/man/mailhatch.8 $(DESTDIR)$(SHARE)/man/man8/mailhatch.8
	install -D -m 644 deploy/man/mailhatch.conf.5 $(DESTDIR)$(SHARE)/man/man5/mailhatch.conf.5
	install -D -m 644 deploy/completion/mailhatch.bash $(DESTDIR)$(SHARE)/bash-completion/completions/mailhatch
	install -D -m 644 deploy/completion/_mailhatch $(DESTDIR)$(ZSHDIR)/_mailhatch
	install -d $(DESTDIR)$(UNITDIR) $(DESTDIR)$(DOCDIR)
	set -e; for u in mailhatch.service mailhatch.socket; do \
		sed 's|/usr/bin/|$(BINDIR)/|' deploy/systemd/$$u >$(DESTDIR)$(UNITDIR)/$$u; chmod 644 $(DESTDIR)$(UNITDIR)/$$u; done
	install -m 644 $(DOCS) $(DESTDIR)$(DOCDIR)
	install -d -m 700 $(DESTDIR)$(SYSCONFDIR)/mailhatch/secrets
	test -e $(DESTDIR)$(SYSCONFDIR)/mailhatch/mailhatch.yaml || \
		install -m 640 deploy/mailhatch.yaml $(DESTDIR)$(SYSCONFDIR)/mailhatch/mailhatch.yaml

deb:                                    ## build/deb/mailhatch_VERSION_ARCH.deb, from what is committed
	@dpkg-checkbuilddeps deploy/debian/control || { echo 'sudo apt-get install debhelper, and what is missing' >&2; exit 1; }
	rm -rf build/deb && mkdir -p build/deb/mailhatch-$(VERSION)
	git archive HEAD | tar -x -C build/deb/mailhatch-$(VERSION)
	cp -r deploy/debian build/deb/mailhatch-$(VERSION)/debian
	cd build/deb/mailhatch-$(VERSION) && env -u MAKEFLAGS -u MFLAGS -u MAKEOVERRIDES -u B -u SAN -u OPT \
		DEB_BUILD_OPTIONS="$${DEB_BUILD_OPTIONS-parallel=2}" dpkg-buildpackage -us -uc

uninstall:                              ## remove what install put there; the configuration stays
	rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	rm -rf $(DESTDIR)$(DOCDIR)

generated: all                          ## write anew what comes from the tables: reference, sample, manual, completions
	$(B)/mailhatch help reference >docs/configuration.md
	$(B)/mailhatch help sample >deploy/mailhatch.example.yaml
	$(B)/mailhatch help man >deploy/man/mailhatch.8
	$(B)/mailhatch help man5 >deploy/man/mailhatch.conf.5
	$(B)/mailhatch help completion bash >deploy/completion/mailhatch.bash
	$(B)/mailhatch help completion zsh >deploy/completion/_mailhatch

deps:
	@sh tests/install.sh
deps-test:
	@sh tests/install.sh test

clean:                                  ## remove build/
	rm -rf build

$(B)/mailhatch: $(OBJ)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(B)/gen/openapi.c: openapi.yaml
	@mkdir -p $(@D)
	@{ echo '#include "api/openapi.h"'; echo 'const char openapi_yaml[] = {'; od -An -v -tx1 $< | sed 's/ \([0-9a-f][0-9a-f]\)/0x\1,/g'; \
	   echo '0};'; echo 'const size_t openapi_yaml_len = sizeof(openapi_yaml) - 1;'; } > $@

$(B)/obj/gen/%.o: $(B)/gen/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -Wno-overflow -Wno-conversion -c -o $@ $<

$(B)/libmailhatch.a: $(LIBOBJ)
	@rm -f $@
	@ar rcs $@ $^

$(B)/tests/test_%: $(B)/obj/tests/unit/test_%.o $(UNITLIB) $(B)/libmailhatch.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(LIBS_CHECK)

$(B)/tests/compose: $(B)/obj/tests/mime/compose.o $(B)/libmailhatch.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/tests/fuzz_%: $(B)/obj/tests/fuzz/fuzz_%.o $(B)/libmailhatch.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $^ $(LIBS)

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
.PHONY: all help run test check check-one check-lint check-unit check-mime check-json check-e2e check-openapi check-asan check-tsan fuzz fuzz-run soak soak-cut soak-proxy bench bench-manners \
	deps deps-test clean check-deploy check-image check-deb image deb install uninstall generated
