/*
 * kafka_config.c
 *	  Which properties of librdkafka a server or user mapping may set, and the
 *	  configuration object made of them.
 *
 * The list is one of allowed names.  Others of the library's properties load
 * code (plugin.library.paths, ssl.engine.location, ssl.providers), run
 * commands (sasl.kerberos.kinit.cmd), make requests to any address
 * (sasl.oauthbearer.token.endpoint.url) or print what passes by (debug); a new
 * version of the library may add more of the kind, so what is not listed is
 * refused.  The mechanism GSSAPI, the library's default, starts a shell that
 * expands other properties, so only mechanisms with user name and password are
 * allowed, and one has to be named.
 *
 * Offsets, queues and callbacks are set here and cannot be configured: what
 * the other files of this room promise depends on them.
 *
 * A value that is secret never reaches a message: neither by our own words nor
 * by the library's, which like to quote.
 */
#include "postgres.h"

#include "kafka/kafka_internal.h"

/* Smallest cap of a partition's queue. */
#define KAFKA_QUEUE_MIN_KBYTES 128

/*
 * From 2.4 on the library keeps what it knows of topics by topic id, too.
 * Before 2.10 a topic that comes with another id than the one remembered, one
 * that was re-created, leaves a pointer to freed memory there, and the process
 * crashes (librdkafka #4964).  So the library has to forget sooner than topics
 * are re-created; it then asks once a second.
 */
#define KAFKA_VERSION_TOPIC_IDS 0x02040000
#define KAFKA_VERSION_TOPIC_IDS_REPAIRED 0x020a0000
#define KAFKA_METADATA_AGE_MS 20

typedef struct KafkaPropertyRule
{
	const char *name;			/* the library's spelling */
	KafkaPropertyClass cls;
	bool		hidden;			/* the value is never shown */
} KafkaPropertyRule;

/* Sorted by name. */
static const KafkaPropertyRule property_rules[] = {
	{"bootstrap.servers", KAFKA_PROPERTY_PLAIN, false},
	{"broker.address.family", KAFKA_PROPERTY_PLAIN, false},
	{"broker.address.ttl", KAFKA_PROPERTY_PLAIN, false},
	{"check.crcs", KAFKA_PROPERTY_PLAIN, false},
	{"client.rack", KAFKA_PROPERTY_PLAIN, false},
	{"connections.max.idle.ms", KAFKA_PROPERTY_PLAIN, false},
	{"enable.ssl.certificate.verification", KAFKA_PROPERTY_PLAIN, false},
	{"fetch.max.bytes", KAFKA_PROPERTY_PLAIN, false},
	{"fetch.min.bytes", KAFKA_PROPERTY_PLAIN, false},
	{"fetch.wait.max.ms", KAFKA_PROPERTY_PLAIN, false},
	{"max.partition.fetch.bytes", KAFKA_PROPERTY_PLAIN, false},
	{"metadata.max.age.ms", KAFKA_PROPERTY_PLAIN, false},
	{"receive.message.max.bytes", KAFKA_PROPERTY_PLAIN, false},
	{"reconnect.backoff.max.ms", KAFKA_PROPERTY_PLAIN, false},
	{"reconnect.backoff.ms", KAFKA_PROPERTY_PLAIN, false},
	{"retry.backoff.ms", KAFKA_PROPERTY_PLAIN, false},
	{"sasl.mechanism", KAFKA_PROPERTY_PLAIN, false},
	{"sasl.mechanisms", KAFKA_PROPERTY_PLAIN, false},
	{"sasl.password", KAFKA_PROPERTY_SECRET, true},
	{"sasl.username", KAFKA_PROPERTY_SECRET, false},
	{"security.protocol", KAFKA_PROPERTY_PLAIN, false},
	{"socket.connection.setup.timeout.ms", KAFKA_PROPERTY_PLAIN, false},
	{"socket.keepalive.enable", KAFKA_PROPERTY_PLAIN, false},
	{"socket.nagle.disable", KAFKA_PROPERTY_PLAIN, false},
	{"socket.receive.buffer.bytes", KAFKA_PROPERTY_PLAIN, false},
	{"socket.send.buffer.bytes", KAFKA_PROPERTY_PLAIN, false},
	{"socket.timeout.ms", KAFKA_PROPERTY_PLAIN, false},
	{"ssl.ca.location", KAFKA_PROPERTY_FILE, false},
	{"ssl.ca.pem", KAFKA_PROPERTY_PLAIN, false},
	{"ssl.certificate.location", KAFKA_PROPERTY_FILE, false},
	{"ssl.certificate.pem", KAFKA_PROPERTY_SECRET, true},
	{"ssl.cipher.suites", KAFKA_PROPERTY_PLAIN, false},
	{"ssl.crl.location", KAFKA_PROPERTY_FILE, false},
	{"ssl.curves.list", KAFKA_PROPERTY_PLAIN, false},
	{"ssl.endpoint.identification.algorithm", KAFKA_PROPERTY_PLAIN, false},
	{"ssl.key.location", KAFKA_PROPERTY_FILE, false},
	{"ssl.key.password", KAFKA_PROPERTY_SECRET, true},
	{"ssl.key.pem", KAFKA_PROPERTY_SECRET, true},
	{"ssl.keystore.location", KAFKA_PROPERTY_FILE, false},
	{"ssl.keystore.password", KAFKA_PROPERTY_SECRET, true},
	{"ssl.sigalgs.list", KAFKA_PROPERTY_PLAIN, false},
};

/* Is name the rule's, "_" standing for "." wherever the caller likes? */
static bool
name_matches(const char *name, const char *rule)
{
	for (; *name != '\0' && *rule != '\0'; name++, rule++)
	{
		if (*name != *rule && !(*name == '_' && *rule == '.'))
			return false;
	}
	return *name == *rule;
}

/* The rule of a property, or NULL when it is not allowed. */
static const KafkaPropertyRule *
find_rule(const char *name)
{
	for (int i = 0; i < lengthof(property_rules); i++)
	{
		if (name_matches(name, property_rules[i].name))
			return &property_rules[i];
	}
	return NULL;
}

/* The rule's name in the spelling of options, palloc'd. */
static char *
option_name(const char *property)
{
	char	   *name = pstrdup(property);

	for (char *p = name; *p != '\0'; p++)
	{
		if (*p == '.')
			*p = '_';
	}
	return name;
}

KafkaPropertyClass
tm_kafka_property_classify(const char *option, const char **property)
{
	const KafkaPropertyRule *rule = find_rule(option);

	if (rule == NULL)
		return KAFKA_PROPERTY_UNKNOWN;
	if (property != NULL)
		*property = rule->name;
	return rule->cls;
}

List *
tm_kafka_property_names(KafkaPropertyClass cls)
{
	List	   *names = NIL;

	for (int i = 0; i < lengthof(property_rules); i++)
	{
		if (property_rules[i].cls == cls)
			names = lappend(names, option_name(property_rules[i].name));
	}
	return names;
}

static bool
mechanism_is_allowed(const char *mechanism)
{
	return strcmp(mechanism, "PLAIN") == 0 ||
		strcmp(mechanism, "SCRAM-SHA-256") == 0 ||
		strcmp(mechanism, "SCRAM-SHA-512") == 0;
}

static void
throw_value(const KafkaPropertyRule *rule, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\"",
					option_name(rule->name)),
			 (detail != NULL && !rule->hidden) ?
			 errdetail("The client library reports: %s", detail) : 0));
}

/* What the library cannot know to be wrong. */
static void
check_value(const KafkaPropertyRule *rule, const char *value)
{
	if (value[0] == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("value of option \"%s\" must not be empty",
						option_name(rule->name))));
	if (strncmp(rule->name, "sasl.mechanism", 14) == 0 &&
		!mechanism_is_allowed(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\"",
						option_name(rule->name)),
				 errhint("Allowed mechanisms are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.")));
}

static const KafkaPropertyRule *
get_rule(const char *property)
{
	const KafkaPropertyRule *rule = find_rule(property);

	if (rule == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("Kafka property \"%s\" is not allowed", property)));
	return rule;
}

void
tm_kafka_property_check(const char *property, const char *value)
{
	const KafkaPropertyRule *rule = get_rule(property);
	rd_kafka_conf_t *conf;
	rd_kafka_conf_res_t result;
	char		errstr[KAFKA_TEXT_SIZE];
	char		detail[KAFKA_TEXT_SIZE];

	check_value(rule, value);

	/* nothing throws between new and destroy */
	conf = rd_kafka_conf_new();
	result = rd_kafka_conf_set(conf, rule->name, value, errstr,
							   sizeof(errstr));
	rd_kafka_conf_destroy(conf);
	if (result != RD_KAFKA_CONF_OK)
	{
		tm_kafka_error_text(NIL, errstr, detail, sizeof(detail));
		throw_value(rule, detail);
	}
}

/* Set a property that is not the user's. */
static void
set_fixed(KafkaConsumer *consumer, const char *name, const char *value)
{
	char		errstr[KAFKA_TEXT_SIZE];

	if (rd_kafka_conf_set(consumer->conf, name, value, errstr,
						  sizeof(errstr)) != RD_KAFKA_CONF_OK)
		elog(ERROR, "could not set Kafka property \"%s\": %s", name, errstr);
}

static void
set_fixed_int(KafkaConsumer *consumer, const char *name, int value)
{
	char		buf[16];

	snprintf(buf, sizeof(buf), "%d", value);
	set_fixed(consumer, name, buf);
}

/* Cap of one queue: that of all, or those of the partitions share it. */
static int
queue_kbytes(const KafkaConsumerOptions *options)
{
	int			kbytes = options->queued_kbytes / Max(options->npartitions, 1);

	return Min(Max(kbytes, KAFKA_QUEUE_MIN_KBYTES), 2097151);
}

/* Defaults that suit us better than the library's; the user may change them. */
static void
set_defaults(KafkaConsumer *consumer, const KafkaConsumerOptions *options)
{
	int			fetch_bytes;
	int			partition_bytes = queue_kbytes(options) / 2 * 1024;
	char		errstr[KAFKA_TEXT_SIZE];

	set_fixed(consumer, "reconnect.backoff.ms", "100");
	set_fixed(consumer, "reconnect.backoff.max.ms", "1000");
	set_fixed(consumer, "socket.keepalive.enable", "true");
	set_fixed(consumer, "receive.message.max.bytes", "1000000000");

	/*
	 * A broker answers a fetch as soon as there is a message, so this is no
	 * latency of messages.  But it is that of other requests on the same
	 * connection, and of end-of-partition events: it has to stay well below a
	 * slice.  A scan does not idle, so it can ask more often.
	 */
	set_fixed(consumer, "fetch.wait.max.ms",
			  options->low_latency ? "100" : "20");

	/* what is on its way comes on top of what is queued */
	fetch_bytes = Min(options->queued_kbytes, 100000) / 2 * 1024;
	set_fixed_int(consumer, "fetch.max.bytes", Max(fetch_bytes, 1000000));
	if (options->npartitions > 0)
		set_fixed_int(consumer, "max.partition.fetch.bytes",
					  Min(partition_bytes, 1024 * 1024));

	/* not known to versions before 2.2, which wait for a second */
	(void) rd_kafka_conf_set(consumer->conf, "fetch.queue.backoff.ms", "20",
							 errstr, sizeof(errstr));
}

/* What this room relies on. */
static void
set_fixed_properties(KafkaConsumer *consumer,
					 const KafkaConsumerOptions *options)
{
	set_fixed(consumer, "client.id", options->client_id);

	/* assign() wants a group, though it never joins one */
	set_fixed(consumer, "group.id",
			  options->group_id ? options->group_id : "tidemark");
	set_fixed(consumer, "enable.auto.commit", "false");
	set_fixed(consumer, "enable.auto.offset.store", "false");
	set_fixed(consumer, "auto.offset.reset", "error");
	set_fixed(consumer, "max.poll.interval.ms", "86400000");
	set_fixed(consumer, "allow.auto.create.topics", "false");
	set_fixed(consumer, "enable.partition.eof", "true");
	set_fixed(consumer, "isolation.level",
			  options->read_committed ? "read_committed" : "read_uncommitted");

	/* the queue is bounded by bytes alone */
	set_fixed_int(consumer, "queued.max.messages.kbytes",
				  queue_kbytes(options));
	consumer->queue_bytes = (int64) queue_kbytes(options) * 1024;
	set_fixed(consumer, "queued.min.messages", "10000000");

	/*
	 * A broker gives one message set at least, however large.  A small queue
	 * would not do: before 2.2 a full one makes the next fetch wait a second.
	 */
	if (options->single)
		set_fixed(consumer, "max.partition.fetch.bytes", "1");
	set_fixed_int(consumer, "fetch.error.backoff.ms", KAFKA_FETCH_BACKOFF_MS);

	set_fixed(consumer, "topic.metadata.propagation.max.ms", "5000");
	if (rd_kafka_version() >= KAFKA_VERSION_TOPIC_IDS &&
		rd_kafka_version() < KAFKA_VERSION_TOPIC_IDS_REPAIRED)
		set_fixed_int(consumer, "metadata.max.age.ms",
					  KAFKA_METADATA_AGE_MS);
	set_fixed(consumer, "statistics.interval.ms", "0");
	set_fixed(consumer, "log_level", "5");
	set_fixed(consumer, "log.connection.close", "false");
	set_fixed(consumer, "log.queue", "true");
	rd_kafka_conf_set_events(consumer->conf,
							 RD_KAFKA_EVENT_LOG | RD_KAFKA_EVENT_ERROR);
	rd_kafka_conf_set_error_cb(consumer->conf, tm_kafka_error_callback);
}

/* SASL without a mechanism would mean GSSAPI. */
static void
check_mechanism(KafkaConsumer *consumer)
{
	char		value[64];
	size_t		size = sizeof(value);

	if (rd_kafka_conf_get(consumer->conf, "security.protocol", value,
						  &size) != RD_KAFKA_CONF_OK ||
		pg_strncasecmp(value, "sasl", 4) != 0)
		return;
	size = sizeof(value);
	if (rd_kafka_conf_get(consumer->conf, "sasl.mechanisms", value,
						  &size) != RD_KAFKA_CONF_OK ||
		!mechanism_is_allowed(value))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("option \"sasl_mechanism\" is required with this security protocol"),
				 errhint("Allowed mechanisms are PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512.")));
}

void
tm_kafka_config_build(KafkaConsumer *consumer,
					  const KafkaConsumerOptions *options)
{
	ListCell   *lc;

	foreach(lc, options->properties)
	{
		const KafkaProperty *property = lfirst(lc);
		const KafkaPropertyRule *rule = get_rule(property->name);

		if (rule->hidden && property->value[0] != '\0')
			consumer->secrets = lappend(consumer->secrets,
										pstrdup(property->value));
		if (strcmp(rule->name, "sasl.username") == 0)
			consumer->username = pstrdup(property->value);
		else if (strcmp(rule->name, "sasl.password") == 0)
			consumer->password = pstrdup(property->value);
	}

	consumer->conf = rd_kafka_conf_new();
	set_defaults(consumer, options);
	foreach(lc, options->properties)
	{
		const KafkaProperty *property = lfirst(lc);
		const KafkaPropertyRule *rule = get_rule(property->name);
		char		errstr[KAFKA_TEXT_SIZE];
		char		detail[KAFKA_TEXT_SIZE];

		check_value(rule, property->value);
		if (rd_kafka_conf_set(consumer->conf, rule->name, property->value,
							  errstr, sizeof(errstr)) != RD_KAFKA_CONF_OK)
		{
			tm_kafka_error_text(consumer->secrets, errstr, detail,
								sizeof(detail));
			throw_value(rule, detail);
		}
	}
	set_fixed_properties(consumer, options);
	check_mechanism(consumer);
}
