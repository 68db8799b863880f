# mailhatch. `make run` and `make test` are all the set-up there is; `make help` lists the rest.
VERSION := 0.1.0
B ?= build
CC ?= gcc
PKGS := libmicrohttpd libssl libcrypto libcjson libidn2 yaml-0.1
WARN := -Wall -Wextra -Wpedantic -Wswitch-enum -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Werror
HARD := -O2 -g -fstack-protector-strong -D_FORTIFY_SOURCE=2 -fPIE -fstack-clash-protection -fcf-protection
CFLAGS_ALL = -std=c11 -D_GNU_SOURCE -DMAILHATCH_VERSION='"$(VERSION)"' -I. $(WARN) $(HARD) $(SAN) $(shell pkg-config --cflags $(PKGS) 2>/dev/null) -MMD -MP
LDFLAGS_ALL = -pie -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--as-needed $(SAN)
LIBS = $(shell pkg-config --libs $(PKGS) 2>/dev/null) -lpthread

SRC := $(sort $(wildcard smtp/*.c service/*.c api/*.c))
LIBSRC := $(filter-out service/main.c,$(SRC))
OBJ = $(SRC:%.c=$(B)/obj/%.o)
LIBOBJ = $(LIBSRC:%.c=$(B)/obj/%.o)
# One libcheck program for each tests/unit/test_NAME.c; helpers shared by them are tests/unit/*.c of other names.
UNIT := $(patsubst tests/unit/%.c,$(B)/tests/%,$(sort $(wildcard tests/unit/test_*.c)))
UNITLIB = $(patsubst tests/unit/%.c,$(B)/obj/tests/unit/%.o,$(filter-out tests/unit/test_%,$(wildcard tests/unit/*.c)))

all: $(B)/mailhatch

$(B)/mailhatch: $(OBJ)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS)

$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(B)/libmailhatch.a: $(LIBOBJ)
	@rm -f $@
	ar rcs $@ $^

$(B)/tests/%: $(B)/obj/tests/unit/%.o $(UNITLIB) $(B)/libmailhatch.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LIBS) $(shell pkg-config --libs check 2>/dev/null) -lm

.SECONDARY:
-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)
.PHONY: all
