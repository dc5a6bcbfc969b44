#!/bin/bash
# native.sh [KIND...] [NAME...] [KIND/NAME...]: build the extension with fault
# points, in a copy of the tree and for a copy of the server ($PG_CONFIG), and
# run the tests there; nothing of the system is changed.  KIND: regress,
# isolation, tap (all three if none is given); NAME: only these tests;
# KIND/NAME: of this kind only these.
#
# Prints a line per test and at the end `N passed, N failed`.  The copy stays
# when something failed; its path is printed.  Broker tests need KAFKA_BROKERS,
# KAFKA_PYTHON and KAFKA_LIBS and skip themselves without.
# MEMCHECK=SUPPRESSIONS runs the server under valgrind.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=setup.sh
. "$(dirname "$0")/setup.sh"

kinds=() names=() passed=0 failed=0
for a in "$@"; do
    case $a in
    regress | isolation | tap) kinds+=("$a") ;;
    regress/* | isolation/* | tap/*)
        [[ " ${kinds[*]} " = *" ${a%%/*} "* ]] || kinds+=("${a%%/*}")
        names+=("$a")
        ;;
    *) names+=("$a") ;;
    esac
done
[ ${#kinds[@]} != 0 ] || kinds=(regress isolation tap)

work=$(mktemp -d "${TMPDIR:-/tmp}/tidemark-test.XXXXXX")
src=$work/src

# The caches may lie where only root can read.
stage_caches() {
    local python=${KAFKA_PYTHON:-} libs=${KAFKA_LIBS:-}
    [ "$(id -u)" = 0 ] || return 0
    if [ -n "$libs" ] && ! as_server_user test -r "$libs"; then
        cp -a "$libs" "$work/jars"
        export KAFKA_LIBS=$work/jars
    fi
    if [ -n "$python" ] && ! as_server_user test -x "$python"; then
        cp -a "$(dirname "$python")/.." "$work/venv"
        export KAFKA_PYTHON=$work/venv/bin/python
    fi
}

# installcheck ARGUMENTS...: one call of the Makefile's own tests.
installcheck() {
    as_server_user make -s -C "$src" installcheck PG_CONFIG="$PG_CONFIG" "${bindir[@]}" "$@"
}

count() {   # count ok|FAIL NAME SECONDS
    case $1 in
    ok) passed=$((passed + 1)) ;;
    FAIL) failed=$((failed + 1)) ;;
    esac
    printf '%-4s %s %s\n' "$1" "$2" "$3"
}

# wanted KIND NAME...: those of them that were asked for; all if none were.
wanted() {
    local kind=$1 n w only=()
    shift
    for w in "${names[@]}"; do
        case $w in "$kind"/*) only+=("${w#*/}") ;; */*) ;; *) only+=("$w") ;; esac
    done
    for n in "$@"; do
        [ ${#only[@]} != 0 ] || echo "$n"
        for w in "${only[@]}"; do [ "$w" != "$n" ] || echo "$n"; done
    done
}

# pg_regress_kind KIND FOLDER SUFFIX OUTPUT: regress or isolation, all tests in
# one server.  The lines of pg_regress are `test NAME ... ok 12 ms`, and from
# 16 on `ok 1 - NAME 12 ms`.
pg_regress_kind() {
    local kind=$1 log=$work/$1.log list name ms all=() t=$SECONDS rc=0
    for name in "$src/$2"/*."$3"; do [ ! -e "$name" ] || all+=("$(basename "$name" ".$3")"); done
    list=$(wanted "$kind" "${all[@]}" | tr '\n' ' ')
    [ -n "$list" ] || return 0
    case $kind in
    regress) installcheck REGRESS="$list" ISOLATION= TAP_TESTS= ;;
    isolation) installcheck REGRESS= ISOLATION="$list" TAP_TESTS= ;;
    esac > "$log" 2>&1 || rc=$?
    for name in $list; do
        ms=$(sed -nE "s/^(test $name +\.\.\. ok|ok [0-9]+ +[-+] $name) +([0-9]+) ms.*/\2/p" "$log")
        if [ -n "$ms" ]
        then count ok "$kind/$name" "$((ms / 1000)).$(printf %03d $((ms % 1000))) s"
        else count FAIL "$kind/$name" "$((SECONDS - t)) s"
        fi
    done
    [ "$rc" != 0 ] || return 0
    tail -n 20 "$log"
    head -n 300 "$src/$4regression.diffs" 2> /dev/null || true
    echo "--- end of the server's log"
    tail -n 40 "$src/$4log/postmaster.log" 2> /dev/null || true
}

# One call of prove for each file: its exit status is the file's result.
tap_kind() {
    local f name log t rc all=()
    for f in "$src"/test/t/*.pl; do [ ! -e "$f" ] || all+=("$(basename "$f" .pl)"); done
    mkdir -p "$work/tap"
    for name in $(wanted tap "${all[@]}"); do
        log=$work/tap/$name.log t=$SECONDS rc=0
        installcheck REGRESS= ISOLATION= PROVE_TESTS="test/t/$name.pl" PROVE_FLAGS=--verbose \
            > "$log" 2>&1 || rc=$?
        if [ "$rc" != 0 ]; then
            count FAIL "tap/$name" "$((SECONDS - t)) s"
            grep -v '^ok ' "$log" | tail -n 60
            for f in "$src"/tmp_check/log/*; do
                [ ! -s "$f" ] || { echo "--- end of $(basename "$f")"; tail -n 40 "$f"; }
            done
            mv "$src/tmp_check" "$work/tap/$name.tmp_check" 2> /dev/null || true
        elif grep -q '\.\. skipped: ' "$log"; then
            count skip "tap/$name" "($(sed -n 's/.*\.\. skipped: //p' "$log"))"
        else
            count ok "tap/$name" "$((SECONDS - t)) s"
        fi
    done
}

if ! build_private "$work" FAULTS=1 WERROR=-Werror > "$work/build.log" 2>&1; then
    tail -n 60 "$work/build.log"
    count FAIL build "(kept: $work)"
    echo "$passed passed, $failed failed"
    exit 1
fi
bindir=()
if [ -n "${MEMCHECK:-}" ]; then
    bin=$("$PG_CONFIG" --bindir)
    "$top/test/wrap_bindir.sh" valgrind "${bin%/bin}" "$work/valgrind" "$MEMCHECK"
    bindir=(bindir="$work/valgrind")
fi
chmod 755 "$work"
stage_caches
[ "$(id -u)" != 0 ] || chown -R postgres: "$work"

for kind in "${kinds[@]}"; do
    case $kind in
    regress) pg_regress_kind regress sql sql '' ;;
    isolation) pg_regress_kind isolation test/specs spec output_iso/ ;;
    tap) tap_kind ;;
    esac
done
if [ -n "${MEMCHECK:-}" ]; then
    if "$top/test/wrap_bindir.sh" check "$work/valgrind"
    then count ok memcheck ''
    else count FAIL memcheck '(reports above)'
    fi
fi

if [ ${#names[@]} != 0 ] && [ $((passed + failed)) = 0 ]; then
    count FAIL "${names[*]}" '(no such test)'
fi
if [ "$failed" = 0 ]; then rm -rf "$work"; else echo "kept: $work"; fi
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
