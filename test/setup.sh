# setup.sh: what test/run, bench/run, demo/run and .ci/run need before they can
# start: packages, Kafka's jars, a Python client, a server of their own.
# Sourced, not run.
# shellcheck shell=bash disable=SC2034

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/tidemark

# The server to build for: $PG_CONFIG, or else the one that the distribution has.
: "${PG_MAJOR:=$(. /etc/os-release && case ${VERSION_ID:-} in 13) echo 17 ;; *) echo 15 ;; esac)}"
own_server_package=${PG_CONFIG:+none}
: "${PG_CONFIG:=/usr/lib/postgresql/$PG_MAJOR/bin/pg_config}"
export PG_CONFIG

packages_build=(gcc g++ make perl python3 libc6-dev librdkafka-dev libsimdjson-dev)
[ -n "$own_server_package" ] ||
    packages_build+=("postgresql-$PG_MAJOR" "postgresql-server-dev-$PG_MAJOR")
packages_kafka=(ca-certificates openjdk-17-jre-headless maven openssl)
packages_test=(libipc-run-perl python3-venv libfaketime)
packages_lint=(codespell shellcheck cppcheck pg-bsd-indent)

# need_packages NAME...: install those that are missing; who is not root gets
# the line to run.  Other systems than Debian have to bring the commands.
need_packages() {
    local p missing=()
    command -v dpkg-query > /dev/null || return 0
    for p in "$@"; do
        dpkg-query -W -f '${Status}' "$p" 2> /dev/null | grep -q 'ok installed' || missing+=("$p")
    done
    [ ${#missing[@]} != 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        echo "Packages are missing.  Please run, then start this again:" >&2
        echo "    sudo apt-get install --no-install-recommends ${missing[*]}" >&2
        return 1
    fi
    echo "installing: ${missing[*]}"
    # no cluster "main" when the server package comes: every run makes its own
    mkdir -p /etc/postgresql-common/createcluster.d
    [ -e /etc/postgresql-common/createcluster.conf ] ||
        echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.d/tidemark.conf
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "${missing[@]}" \
        > /tmp/tidemark-apt.$$ 2>&1 || { tail -n 20 /tmp/tidemark-apt.$$; return 1; }
    rm -f /tmp/tidemark-apt.$$
}

# Python with the Kafka client, in $KAFKA_PYTHON.  /usr/bin/python3: another one
# in PATH may live where user postgres cannot go.
need_python() {
    if [ -z "${KAFKA_PYTHON:-}" ]; then
        KAFKA_PYTHON=$cache/venv/bin/python
        "$KAFKA_PYTHON" -c 'import confluent_kafka' 2> /dev/null || {
            rm -rf "$cache/venv"
            mkdir -p "$cache"
            /usr/bin/python3 -m venv "$cache/venv"
            "$cache/venv/bin/pip" install -q --disable-pip-version-check --retries 5 \
                'confluent-kafka>=2.6' typing_extensions
        }
    fi
    export KAFKA_PYTHON
}

need_jars() {
    : "${KAFKA_LIBS:=$cache/kafka-4.3.0}"
    export KAFKA_LIBS
    "$top/test/kafka/kafka.sh" get
}

# as_server_user COMMAND...: PostgreSQL refuses to run as root, so root becomes
# user postgres; anybody else stays.
as_server_user() {
    if [ "$(id -u)" = 0 ]
    then setpriv --reuid=postgres --regid=postgres --init-groups env HOME="${work:-/}" "$@"
    else "$@"
    fi
}

# copy_tree DIR: what git knows of the project or does not ignore; all of it
# when it is not a clone.
copy_tree() {
    mkdir -p "$1"
    if git -C "$top" ls-files --error-unmatch Makefile > /dev/null 2>&1
    then (cd "$top" && git ls-files -z -c -o --exclude-standard |
        tar -c --null --ignore-failed-read -T - 2> /dev/null) | tar -x -C "$1"
    else cp -a "$top/." "$1"
    fi
}

# private_server DIR: the server of $PG_CONFIG again under DIR, so that nothing
# is installed into the system's: programs copied, because a server finds its
# files relative to its program; the rest as links.  Sets $PG_CONFIG.
private_server() {
    local bin d
    bin=$("$PG_CONFIG" --bindir)
    mkdir -p "$1$bin"
    cp -a "$bin/." "$1$bin"
    for d in --pkglibdir --sharedir --includedir-server; do
        d=$("$PG_CONFIG" "$d")
        mkdir -p "$1$d"
        cp -as "$d/." "$1$d"
    done
    PG_CONFIG=$1$bin/pg_config
}

# build_private DIR [make arguments]: the project built in DIR/src for a private
# server in DIR, and installed there.
build_private() {
    local dir=$1
    shift
    copy_tree "$dir/src"
    private_server "$dir/server"
    make -s -C "$dir/src" clean PG_CONFIG="$PG_CONFIG" > /dev/null
    make -s -C "$dir/src" -j"$(nproc)" install PG_CONFIG="$PG_CONFIG" "$@"
}

# run_child COMMAND...: a trap waits for what runs in the foreground, not for
# this; end_child is for the trap.
child=''
run_child() {
    local rc=0
    "$@" &
    child=$!
    wait "$child" || rc=$?
    child=''
    return "$rc"
}
end_child() { [ -z "$child" ] || { kill "$child" && wait "$child"; } || true; }

# start_broker DIR: a broker with its data in DIR; sets $KAFKA_BROKERS.
start_broker() {
    local port
    port=$("$top/test/kafka/kafka.sh" port)
    KAFKA_BROKERS=$(KAFKA_DIR=$1 KAFKA_PORT=$port "$top/test/kafka/kafka.sh" up)
    export KAFKA_BROKERS
}
stop_broker() { KAFKA_DIR=$1 "$top/test/kafka/kafka.sh" down; }

# start_cluster DIR [SETTING=VALUE...]: a PostgreSQL cluster in DIR/data, with
# the library preloaded, reached through the socket in DIR alone; sets $PGHOST,
# $PGPORT, $PGUSER, $PGDATABASE.
start_cluster() {
    local dir=$1 s bin
    shift
    bin=$("$PG_CONFIG" --bindir)
    as_server_user mkdir -p "$dir/data"
    as_server_user "$bin/initdb" -D "$dir/data" -U postgres -A trust -N > "$dir/initdb.log"
    {
        echo "shared_preload_libraries = 'tidemark'"
        echo "listen_addresses = ''"
        echo "unix_socket_directories = '$dir'"
        for s in "$@"; do echo "${s%%=*} = '${s#*=}'"; done
    } >> "$dir/data/postgresql.conf"
    as_server_user "$bin/pg_ctl" -s -w -D "$dir/data" -l "$dir/postgresql.log" start > /dev/null ||
        { tail -n 20 "$dir/postgresql.log"; return 1; }
    export PGHOST=$dir PGPORT=5432 PGUSER=postgres PGDATABASE=postgres
}
stop_cluster() {
    [ ! -e "$1/data/postmaster.pid" ] ||
        as_server_user "$("$PG_CONFIG" --bindir)/pg_ctl" -s -w -m immediate -D "$1/data" stop
}
