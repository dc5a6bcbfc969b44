import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.kstream.Windowed;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.WindowStore;

/**
 * Count, sum and highest price of bids per auction and 10 s window, into
 * PostgreSQL: WindowedBids BROKERS TOPIC.
 *
 * <p>The messages have no key, so they go through a repartition topic, with no
 * more than the price.  An hour of grace: on catching up the partitions are not
 * read evenly, and rows that are late for the stream time would be dropped.
 */
public final class WindowedBids {
    private static final Duration SIZE = Duration.ofSeconds(10);
    private static final Duration GRACE = Duration.ofHours(1);

    private static final class Sink extends ContextualProcessor<Windowed<Long>, Totals, Void, Void> {
        @Override
        public void process(Record<Windowed<Long>, Totals> r) {
            JdbcSink.ofThread().put(r.key().window().start(), r.key().key(), r.value());
        }
    }

    private static void build(StreamsBuilder builder, String topic) {
        Serde<Bid> bids = Serdes.serdeFrom((t, bid) -> {
            throw new UnsupportedOperationException();
        }, Bid::parse);
        builder.stream(topic, Consumed.with(Serdes.ByteArray(), bids)
                .withTimestampExtractor((r, before) -> ((Bid) r.value()).millis()))
            .map((key, bid) -> KeyValue.pair(bid.auction(), bid.price()))
            .groupByKey(Grouped.with(Serdes.Long(), Serdes.Long()))
            .windowedBy(TimeWindows.ofSizeAndGrace(SIZE, GRACE))
            .aggregate(() -> Totals.NONE, (auction, price, totals) -> {
                JdbcSink.ofThread().count();
                return totals.add(price);
            }, Materialized.<Long, Totals, WindowStore<Bytes, byte[]>>as("totals")
                .withKeySerde(Serdes.Long()).withValueSerde(Totals.serde()))
            .toStream()
            .process(Sink::new);
    }

    private static Properties settings(String brokers) {
        Properties p = new Properties();
        p.put(StreamsConfig.APPLICATION_ID_CONFIG, "windowed-bids-" + ProcessHandle.current().pid());
        p.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, brokers);
        p.put(StreamsConfig.STATE_DIR_CONFIG, System.getenv("PEER_WORK") + "/streams");
        p.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        p.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 2);
        p.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
        p.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64L * 1024 * 1024);
        p.put(StreamsConfig.TOPOLOGY_OPTIMIZATION_CONFIG, StreamsConfig.OPTIMIZE);
        return p;
    }

    public static void main(String[] args) throws InterruptedException {
        Properties p = settings(args[0]);
        StreamsBuilder builder = new StreamsBuilder();
        build(builder, args[1]);
        CountDownLatch ended = new CountDownLatch(1);
        KafkaStreams streams = new KafkaStreams(builder.build(p), new StreamsConfig(p), new FlushingClients());
        streams.setUncaughtExceptionHandler(e -> {
            e.printStackTrace();
            ended.countDown();
            return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
        Runtime.getRuntime().addShutdownHook(new Thread(() -> {
            streams.close(Duration.ofSeconds(10));
            streams.cleanUp();
        }));
        streams.start();
        ended.await();
        System.exit(1);
    }
}
