import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.flink.metrics.Counter;
import org.apache.flink.metrics.Metric;
import org.apache.flink.metrics.MetricConfig;
import org.apache.flink.metrics.MetricGroup;
import org.apache.flink.metrics.reporter.MetricReporter;
import org.apache.flink.metrics.reporter.MetricReporterFactory;
import org.apache.flink.metrics.reporter.Scheduled;

/** For the one who measures: prints how many messages the sources have read. */
public final class ProgressReporter implements MetricReporter, Scheduled {
    /** Made by Flink, by its name in META-INF/services. */
    public static final class Factory implements MetricReporterFactory {
        @Override
        public MetricReporter createMetricReporter(Properties properties) {
            return new ProgressReporter();
        }
    }

    private final Map<Metric, Counter> read = new ConcurrentHashMap<>();
    private long printed;

    @Override
    public void open(MetricConfig config) {}

    @Override
    public void close() {}

    @Override
    public void notifyOfAddedMetric(Metric metric, String name, MetricGroup group) {
        String operator = group.getAllVariables().get("<operator_name>");
        if (metric instanceof Counter counter && name.equals("numRecordsIn")
                && operator != null && operator.startsWith("Source: ")) {
            read.put(metric, counter);
        }
    }

    @Override
    public void notifyOfRemovedMetric(Metric metric, String name, MetricGroup group) {}

    @Override
    public void report() {
        long sum = read.values().stream().mapToLong(Counter::getCount).sum();
        // all is not done before the job has ended: that is for main() to say
        if (sum > printed && sum < FlinkBids.events) {
            printed = sum;
            System.out.println(sum);
        }
    }
}
