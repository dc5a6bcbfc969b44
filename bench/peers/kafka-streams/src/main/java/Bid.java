import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import java.io.IOException;
import java.time.Instant;
import org.apache.kafka.common.errors.SerializationException;

/** What the sums need of a bid; read without building a tree of the message. */
record Bid(long auction, long price, long millis) {
    private static final JsonFactory JSON = new JsonFactory();

    static Bid parse(String topic, byte[] message) {
        Long auction = null;
        Long price = null;
        Long millis = null;
        try (JsonParser p = JSON.createParser(message)) {
            if (p.nextToken() != JsonToken.START_OBJECT) {
                throw new SerializationException("not a bid");
            }
            while ((auction == null || price == null || millis == null)
                    && p.nextToken() == JsonToken.FIELD_NAME) {
                String name = p.currentName();
                p.nextToken();
                switch (name) {
                    case "auction" -> auction = p.getLongValue();
                    case "price" -> price = p.getLongValue();
                    case "date_time" -> millis = parseTime(p);
                    default -> p.skipChildren();
                }
            }
        } catch (IOException e) {
            throw new SerializationException("not a bid", e);
        }
        if (auction == null || price == null || millis == null) {
            throw new SerializationException("not a bid");
        }
        return new Bid(auction, price, millis);
    }

    /** 2015-07-15T00:00:00.123Z in place; other forms as Instant reads them. */
    private static long parseTime(JsonParser p) throws IOException {
        char[] s = p.getTextCharacters();
        int at = p.getTextOffset();
        if (p.getTextLength() != 24 || s[at + 10] != 'T' || s[at + 19] != '.' || s[at + 23] != 'Z') {
            return Instant.parse(p.getText()).toEpochMilli();
        }
        long days = daysBefore(number(s, at, 4), number(s, at + 5, 2), number(s, at + 8, 2));
        long seconds = number(s, at + 11, 2) * 3600 + number(s, at + 14, 2) * 60 + number(s, at + 17, 2);
        return (days * 86400 + seconds) * 1000 + number(s, at + 20, 3);
    }

    private static long number(char[] s, int at, int length) {
        long n = 0;
        for (int i = at; i < at + length; i++) {
            if (s[i] < '0' || s[i] > '9') {
                throw new SerializationException("not a time");
            }
            n = n * 10 + s[i] - '0';
        }
        return n;
    }

    /** Days from 1970-01-01: years that begin in March have their leap day at the end. */
    private static long daysBefore(long year, long month, long day) {
        if (month <= 2) {
            year--;
            month += 12;
        }
        return 365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day - 719469;
    }
}
