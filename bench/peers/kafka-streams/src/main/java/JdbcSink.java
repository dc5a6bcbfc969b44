import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.SQLException;
import java.util.HashMap;
import java.util.Map;

/**
 * The changed groups of one stream thread, written in batches.
 *
 * <p>They are written before the transaction of Kafka that they belong to is
 * committed (see FlushingClients).  After a crash between the two, the same
 * groups come again with the same or newer values, and an upsert sets them: the
 * table ends up right, though not within a transaction of Kafka's.
 */
final class JdbcSink {
    private static final int BATCH = 10000;
    private static final String UPSERT =
        "INSERT INTO result (window_start, auction, bids, total, highest)"
        + " SELECT to_timestamp(w / 1000.0), a, b, t, h"
        + " FROM unnest(?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[], ?::bigint[]) AS n (w, a, b, t, h)"
        + " ON CONFLICT (auction, window_start) DO UPDATE"
        + " SET bids = excluded.bids, total = excluded.total, highest = excluded.highest";
    private static final ThreadLocal<JdbcSink> OF_THREAD = ThreadLocal.withInitial(JdbcSink::new);
    private static long totalWritten;

    private record Group(long window, long auction) {}

    private final Connection connection;
    private final PreparedStatement upsert;
    private final Map<Group, Totals> changed = new HashMap<>();
    private long counted;

    private JdbcSink() {
        try {
            connection = DriverManager.getConnection(
                "jdbc:postgresql://127.0.0.1:" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE"),
                System.getenv("PGUSER"), System.getenv("PGPASSWORD"));
            upsert = connection.prepareStatement(UPSERT);
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
    }

    static JdbcSink ofThread() {
        return OF_THREAD.get();
    }

    /** For the one who measures: a bid has been added to its group. */
    void count() {
        counted++;
    }

    void put(long window, long auction, Totals totals) {
        changed.put(new Group(window, auction), totals);
        if (changed.size() >= BATCH) {
            write();
        }
    }

    /** All that the thread has changed is written; reports how far all threads are. */
    void flush() {
        write();
        if (counted > 0) {
            report(counted);
            counted = 0;
        }
    }

    private static synchronized void report(long bids) {
        totalWritten += bids;
        System.out.println(totalWritten);
    }

    private void write() {
        if (changed.isEmpty()) {
            return;
        }
        long[][] columns = new long[5][changed.size()];
        int i = 0;
        for (Map.Entry<Group, Totals> e : changed.entrySet()) {
            columns[0][i] = e.getKey().window();
            columns[1][i] = e.getKey().auction();
            columns[2][i] = e.getValue().bids();
            columns[3][i] = e.getValue().total();
            columns[4][i++] = e.getValue().highest();
        }
        try {
            for (int c = 0; c < columns.length; c++) {
                upsert.setObject(c + 1, columns[c]);
            }
            upsert.executeUpdate();
        } catch (SQLException e) {
            throw new IllegalStateException(e);
        }
        changed.clear();
    }
}
