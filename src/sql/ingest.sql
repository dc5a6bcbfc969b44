-- ingest: starting, stopping and waiting.

CREATE FUNCTION tidemark.start_ingest(
    stream pg_catalog.regclass,
    into_table pg_catalog.regclass DEFAULT NULL,
    workers pg_catalog.int4 DEFAULT 1,
    start_at pg_catalog.text DEFAULT NULL,
    if_not_exists pg_catalog.bool DEFAULT false)
RETURNS pg_catalog.void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_start_ingest';
COMMENT ON FUNCTION tidemark.start_ingest(pg_catalog.regclass, pg_catalog.regclass, pg_catalog.int4, pg_catalog.text, pg_catalog.bool) IS
    'consume a stream into a table and into the continuous views over either; begins when the transaction commits. start_at: ''earliest'', ''latest'', a timestamp, or offsets as ''{"0": 42}''; NULL means earliest and needs an empty table. Errors: 42501, 42710 (ingested already), 42804 (column types), 55000 (table not empty), 22023';

CREATE FUNCTION tidemark.alter_ingest(
    stream pg_catalog.regclass,
    into_table pg_catalog.regclass DEFAULT NULL,
    workers pg_catalog.int4 DEFAULT NULL)
RETURNS pg_catalog.void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT AS 'MODULE_PATHNAME', 'tm_alter_ingest';
COMMENT ON FUNCTION tidemark.alter_ingest(pg_catalog.regclass, pg_catalog.regclass, pg_catalog.int4) IS
    'change the number of workers of an ingest, or give an ingest without table an empty one; NULL leaves a value as it is. Errors: 42704 (not ingested), 55000, 22023, 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.drop_ingest(stream pg_catalog.regclass, if_exists pg_catalog.bool DEFAULT false)
RETURNS pg_catalog.void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_drop_ingest';
COMMENT ON FUNCTION tidemark.drop_ingest(pg_catalog.regclass, pg_catalog.bool) IS
    'end an ingest and forget its offsets; the table stays. Errors: 42704 (not ingested), 2BP01 (a continuous view reads the stream or its table), 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.pause(relation pg_catalog.regclass) RETURNS pg_catalog.void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_pause';
COMMENT ON FUNCTION tidemark.pause(pg_catalog.regclass) IS
    'pause the ingest of a stream, or one continuous view; when it returns no batch of it is in flight, and none commits until resume() has committed. Errors: 42501, 42704, 42809, 55000 (a view that could not be resumed, because raw rows of its table were removed), 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.resume(relation pg_catalog.regclass) RETURNS pg_catalog.void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_resume';
COMMENT ON FUNCTION tidemark.resume(pg_catalog.regclass) IS
    'let a paused or failed ingest go on at its committed offsets, or a paused continuous view catch up. Errors: 42501, 42704, 42809, 55000 (a restored ingest whose cluster or topic differs; a view over a table whose raw rows were removed), 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.reset_ingest(stream pg_catalog.regclass, start_at pg_catalog.text) RETURNS pg_catalog.void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_reset_ingest';
COMMENT ON FUNCTION tidemark.reset_ingest(pg_catalog.regclass, pg_catalog.text) IS
    'move the position of a paused or failed ingest forward, start_at as in start_ingest(); partitions that a map omits stay. The skipped range is recorded. Errors: 55000 (running, or backward), 22023, 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.wait_for(
    relation pg_catalog.regclass,
    partition pg_catalog.int4,
    kafka_offset pg_catalog.int8,
    timeout pg_catalog."interval" DEFAULT '10 s')
RETURNS pg_catalog.bool
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_wait_for';
COMMENT ON FUNCTION tidemark.wait_for(pg_catalog.regclass, pg_catalog.int4, pg_catalog.int8, pg_catalog."interval") IS
    'wait until a stream or continuous view has applied the message at this offset: read your writes. False when the time is over. Errors at once when it cannot succeed: 55000 (paused, failed, not ingested), 22023 (no such partition), 25001 (REPEATABLE READ), 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.wait_caught_up(
    relation pg_catalog.regclass,
    timeout pg_catalog."interval" DEFAULT '1 min')
RETURNS pg_catalog.bool
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_wait_caught_up';
COMMENT ON FUNCTION tidemark.wait_caught_up(pg_catalog.regclass, pg_catalog."interval") IS
    'wait until a stream or continuous view has reached the end offsets that the log has at the call. False when the time is over. Errors as wait_for()';

CREATE FUNCTION tidemark.inject(
    stream pg_catalog.regclass,
    value pg_catalog.text,
    partition pg_catalog.int4 DEFAULT 0,
    key pg_catalog.text DEFAULT NULL,
    headers pg_catalog.jsonb DEFAULT NULL,
    kafka_timestamp pg_catalog.timestamptz DEFAULT pg_catalog.now())
RETURNS pg_catalog.int8
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_inject_text';
COMMENT ON FUNCTION tidemark.inject(pg_catalog.regclass, pg_catalog.text, pg_catalog.int4, pg_catalog.text, pg_catalog.jsonb, pg_catalog.timestamptz) IS
    'append a message to the kept log of a manual stream and apply it, in the caller''s transaction, as a worker would; returns its offset. NULL value: a tombstone. Errors: 42501, 55000 (the stream is not manual), 22023, 27000 (called by what a batch of the stream runs)';

CREATE FUNCTION tidemark.inject(
    stream pg_catalog.regclass,
    value pg_catalog.bytea,
    partition pg_catalog.int4 DEFAULT 0,
    key pg_catalog.text DEFAULT NULL,
    headers pg_catalog.jsonb DEFAULT NULL,
    kafka_timestamp pg_catalog.timestamptz DEFAULT pg_catalog.now())
RETURNS pg_catalog.int8
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_inject_bytea';
COMMENT ON FUNCTION tidemark.inject(pg_catalog.regclass, pg_catalog.bytea, pg_catalog.int4, pg_catalog.text, pg_catalog.jsonb, pg_catalog.timestamptz) IS
    'the same with any bytes as value';

CREATE FUNCTION tidemark.inject(
    stream pg_catalog.regclass,
    messages pg_catalog.text[],
    partition pg_catalog.int4 DEFAULT 0,
    key pg_catalog.text DEFAULT NULL,
    headers pg_catalog.jsonb DEFAULT NULL,
    kafka_timestamp pg_catalog.timestamptz DEFAULT pg_catalog.now())
RETURNS pg_catalog.int8
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_inject_array';
COMMENT ON FUNCTION tidemark.inject(pg_catalog.regclass, pg_catalog.text[], pg_catalog.int4, pg_catalog.text, pg_catalog.jsonb, pg_catalog.timestamptz) IS
    'the same for several messages at once, applied as one batch; returns the last offset';

CREATE FUNCTION tidemark.replay_dead_letters(stream pg_catalog.regclass)
RETURNS TABLE (replayed pg_catalog.int8, still_bad pg_catalog.int8)
    LANGUAGE C VOLATILE ROWS 1 AS 'MODULE_PATHNAME', 'tm_replay_dead_letters';
COMMENT ON FUNCTION tidemark.replay_dead_letters(pg_catalog.regclass) IS
    'try the dead letters of a stream again, after a fix, in the caller''s transaction: what is good now goes into table and views with its partition and offset, judged by the watermark stored with it, and leaves tidemark.dead_letters; what is still bad stays, with the error of today. Errors: 42501 for others than the stream''s owner, 55000 without ingest or while a view over the stream is paused or backfilling';

CREATE FUNCTION tidemark.set_clock(now pg_catalog.timestamptz) RETURNS pg_catalog.void
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_set_clock';
COMMENT ON FUNCTION tidemark.set_clock(pg_catalog.timestamptz) IS
    'set the time of the manual streams that you own (a superuser: of all), until it is set again; NULL = real time. Partitions that are silent by it become idle, and watermarks and windows follow, before it returns. Streams from Kafka are not affected. Errors: 22008 (infinity)';

CREATE FUNCTION tidemark.partition_by_time(
    parent pg_catalog.regclass,
    step pg_catalog."interval",
    premake pg_catalog.int4 DEFAULT 7,
    retention pg_catalog."interval" DEFAULT NULL,
    since pg_catalog.timestamptz DEFAULT NULL)
RETURNS pg_catalog.void
    LANGUAGE C VOLATILE CALLED ON NULL INPUT AS 'MODULE_PATHNAME', 'tm_partition_by_time';
COMMENT ON FUNCTION tidemark.partition_by_time(pg_catalog.regclass, pg_catalog."interval", pg_catalog.int4, pg_catalog."interval", pg_catalog.timestamptz) IS
    'look after the partitions of a table that is partitioned by range of one column of time: from since on, make one for each step (in UTC), premake of them ahead; drop those that ended longer than retention ago, by clock and watermark (NULL: none). Now, and in the background until drop_partitioning(); called again, it changes step, premake and retention. Errors: 42501, 42809 (not such a table), 22023, 22008, 23514 (the default partition has rows of the range), 42P07 (a name is taken), 54000 (more than 1000 at once), 55000 (a view over the table is paused or failed, nothing can be dropped)';

CREATE FUNCTION tidemark.maintain_partitions(parent pg_catalog.regclass)
RETURNS TABLE (table_partition pg_catalog.text, action pg_catalog.text)
    LANGUAGE C VOLATILE STRICT ROWS 10 AS 'MODULE_PATHNAME', 'tm_maintain_partitions';
COMMENT ON FUNCTION tidemark.maintain_partitions(pg_catalog.regclass) IS
    'make and drop the table partitions that partition_by_time() asked for now, not in the background; what was ''created'' and ''dropped''. Errors: 42704 (not asked for), 55000 (restored), and those of partition_by_time()';

CREATE FUNCTION tidemark.drop_partitioning(parent pg_catalog.regclass, if_exists pg_catalog.bool DEFAULT false)
RETURNS pg_catalog.void
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_drop_partitioning';
COMMENT ON FUNCTION tidemark.drop_partitioning(pg_catalog.regclass, pg_catalog.bool) IS
    'look no more after the partitions of a table; the table and its partitions stay. Errors: 42501, 42704 (not looked after)';

CREATE FUNCTION tidemark_state.on_drop() RETURNS pg_catalog.event_trigger
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_on_drop';
COMMENT ON FUNCTION tidemark_state.on_drop() IS 'removes what belonged to dropped streams, tables and continuous views';
REVOKE ALL ON FUNCTION tidemark_state.on_drop() FROM PUBLIC;
CREATE EVENT TRIGGER tidemark_on_drop ON sql_drop EXECUTE FUNCTION tidemark_state.on_drop();
-- with session_replication_role = replica, too
ALTER EVENT TRIGGER tidemark_on_drop ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER tidemark_on_drop IS 'removes what belonged to dropped streams, tables and continuous views';

