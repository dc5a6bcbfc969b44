import org.apache.flink.configuration.Configuration;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.table.api.bridge.java.StreamTableEnvironment;

/**
 * Count, sum and highest price of bids per auction and 10 s window, into
 * PostgreSQL, by a cluster within this process:
 * FlinkBids BROKERS TOPIC EVENTS window|group|store.
 *
 * <p>window: the window aggregate, whose rows come out when the watermark closes
 * their window.  group: an aggregate without end, whose rows are brought up to
 * date by mini-batches.  store: the bids as they are.
 *
 * <p>It ends at the end that the topic has at the start, because nothing else
 * closes the last windows.
 */
public final class FlinkBids {
    private static final String SUMS =
        "INSERT INTO `result` SELECT window_start, auction, count(*), sum(price), max(price)"
        + " FROM TABLE(TUMBLE(TABLE bids, DESCRIPTOR(date_time), INTERVAL '10' SECOND))"
        + " GROUP BY auction, window_start";
    static long events;

    private FlinkBids() {}

    private static Configuration settings() {
        Configuration c = new Configuration();
        c.setString("execution.checkpointing.interval", "1 s");
        // in the job manager's memory, where they are by default, a state may have 5 MB
        c.setString("execution.checkpointing.storage", "filesystem");
        c.setString("execution.checkpointing.dir", "file://" + System.getenv("PEER_WORK") + "/checkpoints");
        c.setString("restart-strategy.type", "none");
        c.setString("pipeline.object-reuse", "true");
        c.setString("table.local-time-zone", "UTC");
        // the rows of a group come in order and have its key, which is the primary key
        c.setString("table.exec.sink.upsert-materialize", "NONE");
        c.setString("table.exec.mini-batch.enabled", "true");
        c.setString("table.exec.mini-batch.allow-latency", "1 s");
        c.setString("table.exec.mini-batch.size", "5000");
        c.setString("table.optimizer.agg-phase-strategy", "TWO_PHASE");
        c.setString("metrics.reporters", "progress");
        c.setString("metrics.reporter.progress.factory.class", "ProgressReporter$Factory");
        c.setString("metrics.reporter.progress.interval", "50 ms");
        return c;
    }

    private static String source(String brokers, String topic, String columns) {
        return "CREATE TABLE bids (" + columns + ", date_time TIMESTAMP_LTZ(3),"
            + " WATERMARK FOR date_time AS date_time - INTERVAL '4' SECOND) WITH ("
            + " 'connector' = 'kafka', 'topic' = '" + topic + "',"
            + " 'properties.bootstrap.servers' = '" + brokers + "',"
            + " 'scan.startup.mode' = 'earliest-offset', 'scan.bounded.mode' = 'latest-offset',"
            + " 'format' = 'json', 'json.timestamp-format.standard' = 'ISO-8601')";
    }

    private static String sink(String table, String columns) {
        return "CREATE TABLE `" + table + "` (" + columns + ") WITH ("
            + " 'connector' = 'jdbc', 'url' = 'jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/"
            + System.getenv("PGDATABASE") + "?reWriteBatchedInserts=true',"
            + " 'username' = '" + System.getenv("PGUSER") + "', 'password' = '" + System.getenv("PGPASSWORD") + "',"
            + " 'table-name' = '" + table + "',"
            + " 'sink.buffer-flush.max-rows' = '5000', 'sink.buffer-flush.interval' = '1 s')";
    }

    public static void main(String[] args) throws Exception {
        events = Long.parseLong(args[2]);
        StreamExecutionEnvironment env = StreamExecutionEnvironment.createLocalEnvironment(2, settings());
        StreamTableEnvironment tables = StreamTableEnvironment.create(env);
        String insert;
        if (args[3].equals("store")) {
            String text = "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, extra STRING";
            tables.executeSql(source(args[0], args[1], text));
            tables.executeSql(sink("bid", text + ", date_time TIMESTAMP(3)"));
            insert = "INSERT INTO bid SELECT auction, bidder, price, channel, url, extra,"
                + " CAST(date_time AS TIMESTAMP(3)) FROM bids";
        } else {
            tables.executeSql(source(args[0], args[1], "auction BIGINT, price BIGINT"));
            tables.executeSql(sink("result", "window_start TIMESTAMP(3), auction BIGINT, bids BIGINT, total BIGINT,"
                + " highest BIGINT, PRIMARY KEY (auction, window_start) NOT ENFORCED"));
            insert = args[3].equals("window") ? SUMS + ", window_end" : SUMS;
        }
        tables.executeSql(insert).await();
        System.out.println(events);
    }
}
