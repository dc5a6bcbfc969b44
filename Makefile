# tidemark: build, install, test.  `make`, `make install`, `make installcheck`,
# `make lint`, `make format`.  FAULTS=1 compiles the fault points that the crash tests use.
EXTENSION   = tidemark
EXTVERSION  = 0.1.0
MODULE_big  = tidemark

# WITH_SIMDJSON=yes|no: verify UTF-8 with simdjson; yes where a C++ compiler finds it.
include src/format/simdjson.mk
OBJS        = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c))) \
              $(if $(SIMDJSON_LIBS),src/format/format_simdjson.o)
SQL_PARTS   = $(addprefix src/sql/,head.sql meta.sql worker.sql stream.sql window.sql \
                session.sql view.sql ingest.sql verify.sql monitor.sql)
DATA_built  = $(EXTENSION)--$(EXTVERSION).sql
DATA        = $(wildcard src/sql/$(EXTENSION)--*--*.sql)

PG_CPPFLAGS = -Isrc $(if $(FAULTS),-DTM_FAULT_POINTS) $(SIMDJSON_CPPFLAGS)
PG_CFLAGS   = -Wextra -Wno-unused-parameter -Wno-sign-compare \
              -Wno-missing-field-initializers -Wno-clobbered $(WERROR)
PG_CXXFLAGS = $(SIMDJSON_CXXFLAGS) -Wextra $(WERROR)
SHLIB_LINK  = -lrdkafka $(SIMDJSON_LIBS)

# Regress, isolation and TAP.  The two pg_regress kinds start their own server,
# because the library must be preloaded.
TEMP        = --temp-config=$(srcdir)/test/regress.conf --temp-instance=$(CURDIR)/tmp_instance
REGRESS     = $(patsubst $(srcdir)/sql/%.sql,%,$(sort $(wildcard $(srcdir)/sql/*.sql)))
REGRESS_OPTS = $(TEMP)
ISOLATION   = $(patsubst $(srcdir)/test/specs/%.spec,%,$(sort $(wildcard $(srcdir)/test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=$(srcdir)/test $(TEMP)
TAP_TESTS   = 1
PROVE_TESTS = test/t/*.pl

EXTRA_CLEAN = tmp_instance tmp_check output_iso results regression.diffs \
              regression.out log $(wildcard src/*.o src/*/*.o)

# No JIT bitcode: PGXS would call the clang of the server's build for every object.
override with_llvm = no

PG_CONFIG  ?= pg_config
PGXS       := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

$(DATA_built): $(addprefix $(srcdir)/,$(SQL_PARTS))
	cat $^ > $@

# Distribution builds of PGXS do not track headers.
$(OBJS): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h) $(srcdir)/Makefile

.PHONY: lint format
lint:
	PG_CONFIG=$(PG_CONFIG) $(srcdir)/test/lint/run
format:
	PG_CONFIG=$(PG_CONFIG) $(srcdir)/test/lint/format
