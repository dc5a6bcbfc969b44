#!/bin/bash
# kafka.sh: a real Kafka (KRaft: broker and controller in one JVM) on 127.0.0.1,
# for tests, benchmarks and the demo.  Needs Java 17, Maven (once) and openssl.
#
#   kafka.sh get                   fetch the jars into $KAFKA_LIBS, once (40 MB)
#   kafka.sh port [N]              print a free $KAFKA_PORT for N nodes
#   kafka.sh up [N]                format and start N nodes (default 1), wait
#                                  until all answer, print the bootstrap list
#   kafka.sh stop|kill|start I     one node: clean stop, kill -9, start again
#                                  on its data
#   kafka.sh down                  stop all nodes and delete their data
#
# Node I listens on P = $KAFKA_PORT + 10*(I-1): PLAINTEXT P, controller P+1,
# SASL_PLAINTEXT P+2, SSL P+3, SASL_SSL P+4.  Users, by PLAIN and SCRAM-SHA-256
# or -512: alice/alice-secret, bob/bob-secret.  Certificates in $KAFKA_DIR:
# ca.pem, client.pem, client.key.  With $KAFKA_PROXY_PORT clients of PLAINTEXT are
# told to come to that port (of one node).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
: "${KAFKA_DIR:=${TMPDIR:-/tmp}/tidemark-kafka}" "${KAFKA_PORT:=19092}" "${KAFKA_HEAP:=384m}"
: "${KAFKA_LIBS:=${XDG_CACHE_HOME:-$HOME/.cache}/tidemark/kafka-4.3.0}"

port() { echo $((KAFKA_PORT + 10 * ($1 - 1) + $2)); }
listening() { (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }
nodes() {
    local d
    for d in "$KAFKA_DIR"/node*; do [ ! -d "$d" ] || echo "${d##*node}"; done
}

# A heap just large enough, and the quick compiler only: a node starts in 3 s.
# exec: the caller's $! is the JVM itself, which kill -9 has to hit.
java_() {
    exec java -Xmx"$KAFKA_HEAP" -Xms64m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 \
        -Dlog4j2.configurationFile="$KAFKA_DIR/log4j2.properties" -cp "$KAFKA_LIBS/*" "$@"
}

# Into a folder of its own first: a fetch that was cut off leaves no half set.
get() {
    [ ! -e "$KAFKA_LIBS" ] || return 0
    local part=$KAFKA_LIBS.$$ try
    mkdir -p "$(dirname "$KAFKA_LIBS")"
    for try in 1 2 3; do
        ! mvn -q -B -Dstyle.color=never -f "$here/kafka-pom.xml" dependency:copy-dependencies \
            -DoutputDirectory="$part" || break
        [ "$try" != 3 ] || return 1
    done
    mv -T "$part" "$KAFKA_LIBS" 2> /dev/null || rm -rf "$part"
}

# A base port of N nodes' worth of ports that nobody listens on, below the
# range from which the kernel gives ports to clients.
free_port() {
    local base i j busy
    for _ in $(seq 50); do
        base=$((20000 + (RANDOM % 1000) * 10)) busy=
        for i in $(seq 0 $((${1:-1} - 1))); do
            for j in 0 1 2 3 4; do ! listening $((base + 10 * i + j)) || busy=1; done
        done
        [ -n "$busy" ] || { echo "$base"; return 0; }
    done
    return 1
}

# A CA, a server certificate for localhost and 127.0.0.1 and a client
# certificate, as PEM files.
certs() {
    cd "$KAFKA_DIR"
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj /CN=tidemark-test-ca -keyout ca.key -out ca.pem
    local n; for n in server client; do
        openssl req -newkey rsa:2048 -nodes -subj /CN=$n -keyout $n.key -out $n.csr
        openssl x509 -req -days 30 -in $n.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out $n.pem \
            -extfile <(echo "subjectAltName=DNS:localhost,IP:127.0.0.1")
    done
    cat server.key server.pem ca.pem > server.keystore.pem
    chmod 644 ./*.pem ./*.key
    cd - > /dev/null
}
# config I N: the properties of node I of N.  A comment at the end of a line
# would be part of the value.
config() {
    local i=$1 n=$2 rf=$(($2 < 3 ? 1 : 3)) voters='' j d=$KAFKA_DIR/node$1
    for j in $(seq "$n"); do voters+="${voters:+,}$j@127.0.0.1:$(port "$j" 1)"; done
    mkdir -p "$d"
    cat > "$d/server.properties" <<EOF
process.roles=broker,controller
node.id=$i
controller.quorum.voters=$voters
listeners=PLAINTEXT://127.0.0.1:$(port $i 0),CONTROLLER://127.0.0.1:$(port $i 1),SASL_PLAINTEXT://127.0.0.1:$(port $i 2),SSL://127.0.0.1:$(port $i 3),SASL_SSL://127.0.0.1:$(port $i 4)
${KAFKA_PROXY_PORT:+advertised.listeners=PLAINTEXT://127.0.0.1:$KAFKA_PROXY_PORT}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL
log.dirs=$d/data
auto.create.topics.enable=false
delete.topic.enable=true
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
offsets.topic.replication.factor=$rf
transaction.state.log.replication.factor=$rf
transaction.state.log.min.isr=$((rf == 1 ? 1 : 2))
min.insync.replicas=$((rf == 1 ? 1 : 2))
group.initial.rebalance.delay.ms=0
# short times for failover tests (defaults: 9 s session, 2 s heartbeat, 1-2 s election)
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
controlled.shutdown.enable=true
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
log.segment.delete.delay.ms=1000
# else records that a test stamped with old timestamps vanish within seconds
log.retention.ms=-1
log.retention.check.interval.ms=1000
log.initial.task.delay.ms=1000
log.cleaner.backoff.ms=500
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
$(for l in sasl_plaintext sasl_ssl; do
echo "listener.name.$l.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_alice=\"alice-secret\" user_bob=\"bob-secret\";"
for m in 256 512; do echo "listener.name.$l.scram-sha-$m.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;"; done; done)
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_DIR/server.keystore.pem
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_DIR/ca.pem
ssl.client.auth=requested
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=true
super.users=User:ANONYMOUS
EOF
}
format() {
    local u m scram=() d=$KAFKA_DIR/node$1
    for u in alice bob; do
        for m in 256 512; do scram+=(--add-scram "SCRAM-SHA-$m=[name=$u,password=$u-secret]"); done
    done
    (java_ kafka.tools.StorageTool format -t "$(cat "$KAFKA_DIR/cluster_id")" \
        -c "$d/server.properties" "${scram[@]}") > "$d/format.log" 2>&1 ||
        { cat "$d/format.log"; return 1; }
}
start() {
    local d=$KAFKA_DIR/node$1
    java_ kafka.Kafka "$d/server.properties" >> "$d/server.log" 2>&1 < /dev/null &
    echo $! > "$d/pid"
    disown
}
wait_up() {
    for _ in $(seq 600); do
        ! listening "$(port "$1" 0)" || return 0
        kill -0 "$(cat "$KAFKA_DIR/node$1/pid")" 2> /dev/null || { tail -30 "$KAFKA_DIR/node$1/server.log"; return 1; }
        sleep 0.1
    done
    return 1
}
# end_ I SIGNAL: send it and wait until the process is gone.
end_() {
    local f=$KAFKA_DIR/node$1/pid p
    [ -e "$f" ] || return 0
    p=$(cat "$f")
    rm -f "$f"
    kill "-$2" "$p" 2> /dev/null || return 0
    while kill -0 "$p" 2> /dev/null; do sleep 0.05; done
}
up() {
    local i n=$1 pids=() list=''
    get
    for i in $(nodes); do end_ "$i" KILL; done
    rm -rf "${KAFKA_DIR:?}"
    mkdir -p "$KAFKA_DIR"
    # 16 random bytes in the URL-safe alphabet, as Kafka makes them itself: each
    # broker is a cluster of its own, which clients that compare ids notice
    head -c 16 /dev/urandom | base64 | tr '+/' 'xy' | tr -d '=\n' > "$KAFKA_DIR/cluster_id"
    printf '%s\n' rootLogger.level=WARN rootLogger.appenderRef.o.ref=o appender.o.type=Console \
        appender.o.name=o appender.o.layout.type=PatternLayout \
        'appender.o.layout.pattern=%d{ISO8601} %p %c - %m%n' > "$KAFKA_DIR/log4j2.properties"
    certs > "$KAFKA_DIR/certs.log" 2>&1
    for i in $(seq "$n"); do config "$i" "$n"; format "$i" & pids[i]=$!; done
    for i in $(seq "$n"); do wait "${pids[i]}"; done
    for i in $(seq "$n"); do start "$i"; done
    for i in $(seq "$n"); do
        wait_up "$i"
        list+="${list:+,}127.0.0.1:$(port "$i" 0)"
    done
    echo "$list"
}

case ${1:-} in
get) get ;;
port) free_port "${2:-1}" ;;
up) up "${2:-1}" ;;
start) start "$2"; wait_up "$2" ;;
stop) end_ "$2" TERM ;;
kill) end_ "$2" KILL ;;
down)
    for i in $(nodes); do end_ "$i" KILL; done
    rm -rf "${KAFKA_DIR:?}"
    ;;
*) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
