import java.nio.ByteBuffer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;

/** The aggregates of a window of an auction. */
record Totals(long bids, long total, long highest) {
    static final Totals NONE = new Totals(0, 0, Long.MIN_VALUE);

    Totals add(long price) {
        return new Totals(bids + 1, total + price, Math.max(highest, price));
    }

    static Serde<Totals> serde() {
        return Serdes.serdeFrom(
            (topic, t) -> t == null ? null
                : ByteBuffer.allocate(24).putLong(t.bids).putLong(t.total).putLong(t.highest).array(),
            (topic, data) -> {
                if (data == null) {
                    return null;
                }
                ByteBuffer b = ByteBuffer.wrap(data);
                return new Totals(b.getLong(), b.getLong(), b.getLong());
            });
    }
}
