import static org.apache.spark.sql.functions.col;
import static org.apache.spark.sql.functions.count;
import static org.apache.spark.sql.functions.from_json;
import static org.apache.spark.sql.functions.lit;
import static org.apache.spark.sql.functions.max;
import static org.apache.spark.sql.functions.sum;
import static org.apache.spark.sql.functions.window;

import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.Iterator;
import org.apache.spark.api.java.function.ForeachPartitionFunction;
import org.apache.spark.sql.Dataset;
import org.apache.spark.sql.Row;
import org.apache.spark.sql.SparkSession;
import org.apache.spark.sql.streaming.StreamingQueryListener;

/**
 * Count, sum and highest price of bids per auction and 10 s window, into
 * PostgreSQL, by Structured Streaming within this process:
 * SparkBids BROKERS TOPIC view|store.
 *
 * <p>view: output mode "update"; after each micro-batch the totals that it
 * changed are upserted, which can be repeated.  store: the bids as they are, at
 * least once.
 *
 * <p>An hour of watermark delay: on catching up the partitions are not read
 * evenly, and rows behind the watermark would be dropped.
 */
public final class SparkBids {
    private static final String UPSERT =
        "INSERT INTO result AS r (window_start, auction, bids, total, highest) VALUES (?, ?, ?, ?, ?)"
        + " ON CONFLICT (auction, window_start) DO UPDATE"
        + " SET bids = excluded.bids, total = excluded.total, highest = excluded.highest";
    private static final int JDBC_BATCH = 5000;

    private SparkBids() {}

    private static String url() {
        return "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE")
            + "?reWriteBatchedInserts=true";
    }

    private static SparkSession session() {
        return SparkSession.builder().master("local[2]").appName("bids")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.local.dir", System.getenv("PEER_WORK") + "/spark")
            .config("spark.sql.warehouse.dir", System.getenv("PEER_WORK") + "/spark")
            .config("spark.sql.streaming.checkpointLocation", System.getenv("PEER_WORK") + "/spark-checkpoints")
            .config("spark.sql.session.timeZone", "UTC")
            // as many as there are cores, as the documentation advises; 200 by default
            .config("spark.sql.shuffle.partitions", "2")
            .getOrCreate();
    }

    /** Prints how many bids were done, after each micro-batch. */
    private static final class Progress extends StreamingQueryListener {
        private long done;

        @Override
        public void onQueryStarted(QueryStartedEvent event) {}

        @Override
        public void onQueryProgress(QueryProgressEvent event) {
            done += event.progress().numInputRows();
            System.out.println(done);
        }

        @Override
        public void onQueryTerminated(QueryTerminatedEvent event) {}
    }

    private static void upsert(Iterator<Row> rows) throws SQLException {
        try (Connection c = DriverManager.getConnection(url(), System.getenv("PGUSER"), System.getenv("PGPASSWORD"))) {
            c.setAutoCommit(false);
            try (PreparedStatement s = c.prepareStatement(UPSERT)) {
                for (int n = 1; rows.hasNext(); n++) {
                    Row r = rows.next();
                    s.setTimestamp(1, r.getTimestamp(0));
                    for (int i = 1; i <= 4; i++) {
                        s.setLong(i + 1, r.getLong(i));
                    }
                    s.addBatch();
                    if (n % JDBC_BATCH == 0) {
                        s.executeBatch();
                    }
                }
                s.executeBatch();
            }
            c.commit();
        }
    }

    private static void store(Dataset<Row> bids) {
        bids.write().format("jdbc").option("url", url()).option("dbtable", "bid")
            .option("user", System.getenv("PGUSER")).option("password", System.getenv("PGPASSWORD"))
            .option("batchsize", JDBC_BATCH).mode("append").save();
    }

    public static void main(String[] args) throws Exception {
        boolean whole = args[2].equals("store");
        SparkSession spark = session();
        spark.streams().addListener(new Progress());
        Dataset<Row> bids = spark.readStream().format("kafka")
            .option("kafka.bootstrap.servers", args[0]).option("subscribe", args[1])
            .option("startingOffsets", "earliest")
            // a second or two of work
            .option("maxOffsetsPerTrigger", 200000)
            .load()
            .select(from_json(col("value").cast("string"), whole
                ? "auction BIGINT, bidder BIGINT, price BIGINT, channel STRING, url STRING, date_time TIMESTAMP, extra STRING"
                : "auction BIGINT, price BIGINT, date_time TIMESTAMP",
                java.util.Map.of()).as("b"))
            .select("b.*");
        if (whole) {
            bids.writeStream().foreachBatch((Dataset<Row> batch, Long id) -> store(batch)).start().awaitTermination();
            return;
        }
        bids.withWatermark("date_time", "1 hour")
            .groupBy(window(col("date_time"), "10 seconds"), col("auction"))
            .agg(count(lit(1)).as("bids"), sum("price").as("total"), max("price").as("highest"))
            .select(col("window.start"), col("auction"), col("bids"), col("total"), col("highest"))
            .writeStream().outputMode("update")
            .foreachBatch((Dataset<Row> batch, Long id) ->
                batch.foreachPartition((ForeachPartitionFunction<Row>) SparkBids::upsert))
            .start().awaitTermination();
    }
}
