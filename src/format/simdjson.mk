# simdjson.mk: is simdjson used, and with which flags?  For ../../Makefile and
# test/decode.  WITH_SIMDJSON=yes|no; otherwise yes where a C++ compiler finds it.
hash := \#
ifndef WITH_SIMDJSON
WITH_SIMDJSON := $(shell printf '$(hash)if __has_include(<simdjson.h>)\nyes\n$(hash)endif\n' | $(CXX) -std=c++17 -E -P -x c++ - 2> /dev/null)
endif

SIMDJSON_CXXFLAGS = -std=c++17 -fno-exceptions -fno-rtti -fvisibility=hidden
ifeq ($(WITH_SIMDJSON),yes)
SIMDJSON_CPPFLAGS = -DTM_WITH_SIMDJSON
SIMDJSON_LIBS     = -lsimdjson -lstdc++
endif
