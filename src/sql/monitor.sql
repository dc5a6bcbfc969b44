-- monitor: what an operator reads.  The views read the extension's tables with
-- the rights of its owner, so each decides itself which rows the reader may see:
-- those of relations he owns or may SELECT, or all of them as a member of
-- pg_monitor; dead letters, which are message content, never by pg_monitor.
-- Functions in them run as the reader and check on their own.  Nothing here
-- waits for a lock or asks a broker: end offsets are those that a worker saw.

CREATE FUNCTION tidemark_state.is_ours(system_identifier pg_catalog.int8, database pg_catalog.oid)
RETURNS pg_catalog.bool
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_is_ours';
COMMENT ON FUNCTION tidemark_state.is_ours(pg_catalog.int8, pg_catalog.oid) IS
    'false when a row with these stamps came here by restore, CREATE DATABASE .. TEMPLATE or pg_upgrade';

CREATE FUNCTION tidemark_state.may_see(relation pg_catalog.oid) RETURNS pg_catalog.bool
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN pg_catalog.pg_has_role('pg_monitor', 'USAGE')
    OR pg_catalog.has_table_privilege(relation, 'SELECT')
    OR EXISTS (SELECT FROM pg_catalog.pg_class c
               WHERE c.oid = relation AND pg_catalog.pg_has_role(c.relowner, 'USAGE'));
COMMENT ON FUNCTION tidemark_state.may_see(pg_catalog.oid) IS
    'may the current user see the rows of this relation in the monitoring views?';

CREATE FUNCTION tidemark_state.is_manual(stream pg_catalog.oid) RETURNS pg_catalog.bool
    LANGUAGE sql STABLE PARALLEL SAFE
RETURN EXISTS (SELECT FROM pg_catalog.pg_foreign_table t
               JOIN pg_catalog.pg_foreign_server s ON s.oid = t.ftserver
               WHERE t.ftrelid = stream AND 'transport=manual' = ANY (s.srvoptions));
COMMENT ON FUNCTION tidemark_state.is_manual(pg_catalog.oid) IS 'is it a manual stream, which needs no worker?';

CREATE FUNCTION tidemark_state.in_words(duration pg_catalog."interval") RETURNS pg_catalog.text
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
RETURN CASE
    WHEN duration < '2 min' THEN pg_catalog.trunc(EXTRACT(epoch FROM duration)) || ' s'
    WHEN duration < '2 h' THEN pg_catalog.trunc(EXTRACT(epoch FROM duration) / 60) || ' min'
    WHEN duration < '2 days' THEN pg_catalog.trunc(EXTRACT(epoch FROM duration) / 3600) || ' h'
    ELSE pg_catalog.trunc(EXTRACT(epoch FROM duration) / 86400) || ' days'
END;
COMMENT ON FUNCTION tidemark_state.in_words(pg_catalog."interval") IS 'a duration as a person says it: 12 min';

CREATE FUNCTION tidemark_state.view_definition(view pg_catalog.oid) RETURNS pg_catalog.text
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_view_definition';
COMMENT ON FUNCTION tidemark_state.view_definition(pg_catalog.oid) IS
    'the query of a view; NULL, without waiting, while a relation in it is locked';

CREATE FUNCTION tidemark_state.relation_bytes(relation pg_catalog.oid) RETURNS pg_catalog.int8
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_relation_bytes';
COMMENT ON FUNCTION tidemark_state.relation_bytes(pg_catalog.oid) IS
    'size of a relation with indexes and TOAST; NULL, without waiting, while it is locked';

CREATE FUNCTION tidemark_state.relation_rows(relation pg_catalog.oid) RETURNS pg_catalog.int8
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_relation_rows';
COMMENT ON FUNCTION tidemark_state.relation_rows(pg_catalog.oid) IS
    'number of rows as the planner estimates it, also before the first ANALYZE; NULL, without waiting, while it is locked';

CREATE FUNCTION tidemark_state.worker_wait(pid pg_catalog.int4) RETURNS pg_catalog.text
    LANGUAGE C VOLATILE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_worker_wait_text';
COMMENT ON FUNCTION tidemark_state.worker_wait(pg_catalog.int4) IS
    'what a process of tidemark in this database waits for; NULL when it works';

CREATE FUNCTION tidemark_state.readable_text(bytes pg_catalog.bytea) RETURNS pg_catalog.text
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_readable_text';
COMMENT ON FUNCTION tidemark_state.readable_text(pg_catalog.bytea) IS
    'the first 1000 characters of UTF-8 text; bytes that are no character as \xNN';

CREATE FUNCTION tidemark_state.dead_letters(
    stream pg_catalog.oid,
    OUT topic pg_catalog.text,
    OUT partition pg_catalog.int4,
    OUT kafka_offset pg_catalog.int8,
    OUT kafka_timestamp pg_catalog.timestamptz,
    OUT watermark pg_catalog.timestamptz,
    OUT key pg_catalog.bytea,
    OUT value pg_catalog.bytea,
    OUT headers pg_catalog.jsonb,
    OUT stage pg_catalog.text,
    OUT sqlstate pg_catalog.text,
    OUT message pg_catalog.text,
    OUT recorded_at pg_catalog.timestamptz)
RETURNS SETOF pg_catalog.record
    LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'tm_dead_letters';
COMMENT ON FUNCTION tidemark_state.dead_letters(pg_catalog.oid) IS
    'dead letters of a stream; none for those who neither own it nor may SELECT it';

CREATE FUNCTION tidemark_state.late_rows(
    state_table pg_catalog.oid,
    OUT window_start pg_catalog.timestamptz,
    OUT window_end pg_catalog.timestamptz,
    OUT partition pg_catalog.int4,
    OUT kafka_offset pg_catalog.int8,
    OUT event_time pg_catalog.timestamptz,
    OUT watermark pg_catalog.timestamptz,
    OUT "row" pg_catalog.jsonb,
    OUT recorded_at pg_catalog.timestamptz)
RETURNS SETOF pg_catalog.record
    LANGUAGE C STABLE STRICT AS 'MODULE_PATHNAME', 'tm_late_rows';
COMMENT ON FUNCTION tidemark_state.late_rows(pg_catalog.oid) IS
    'late rows of the continuous view with this state table; none for those who neither own it nor may SELECT its source';

CREATE FUNCTION tidemark_state.delete_dead_letter() RETURNS pg_catalog.trigger
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_delete_dead_letter';
COMMENT ON FUNCTION tidemark_state.delete_dead_letter() IS 'DELETE FROM tidemark.dead_letters; for the owner of the stream (42501)';
REVOKE ALL ON FUNCTION tidemark_state.delete_dead_letter() FROM PUBLIC;

CREATE FUNCTION tidemark_state.delete_late_row() RETURNS pg_catalog.trigger
    LANGUAGE C VOLATILE AS 'MODULE_PATHNAME', 'tm_delete_late_row';
COMMENT ON FUNCTION tidemark_state.delete_late_row() IS 'DELETE FROM tidemark.late_rows; for the owner of the view (42501)';
REVOKE ALL ON FUNCTION tidemark_state.delete_late_row() FROM PUBLIC;

CREATE FUNCTION tidemark_state.name_partitions(list pg_catalog.int4[], total pg_catalog.int8) RETURNS pg_catalog.text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN pg_catalog.cardinality(list) = 1 THEN 'partition ' || list[1]
    WHEN pg_catalog.cardinality(list) <= 3 THEN 'partitions ' || pg_catalog.array_to_string(list, ', ')
    ELSE pg_catalog.format('%s of %s partitions', pg_catalog.cardinality(list), total)
END;
COMMENT ON FUNCTION tidemark_state.name_partitions(pg_catalog.int4[], pg_catalog.int8) IS
    'some of the partitions of a stream as a person says it: partitions 1, 2; NULL = none';

-- Each partition with its worker.  It is idle as long as the process that found
-- it so runs (ingest_watermark.c says the same).
CREATE VIEW tidemark_state.watched_partition AS
WITH slot AS MATERIALIZED (SELECT * FROM tidemark_state.worker_status() WHERE role = 'ingest')
SELECT p.*,
       (p.idle_since IS NOT NULL AND i.state = 'running'
        AND (tidemark_state.is_manual(p.stream)
             OR w.state = 'running' AND w.started_at <= p.idle_since)) IS TRUE AS idle,
       w.sqlstate, w.message
FROM tidemark_state.partition p
     LEFT JOIN tidemark_state.ingest i ON i.stream = p.stream
     LEFT JOIN slot w ON w.object = p.stream::oid AND w.index = p.partition % i.workers;
COMMENT ON VIEW tidemark_state.watched_partition IS 'partitions, and what the workers that read them say';

-- What the partitions of a stream come to.
CREATE VIEW tidemark_state.stream_progress AS
SELECT s.stream, s.rows, s.dead_letters, s.skipped, s.shed, s.future_rows, s.total, s.done, s.lag,
       CASE WHEN s.lag = 0 THEN '0 s'::interval
            ELSE greatest(pg_catalog.statement_timestamp() - s.oldest, '0 s') END AS delay,
       s.watermark,
       CASE WHEN pg_catalog.cardinality(s.idle) = s.n THEN
                CASE WHEN s.n = 1 THEN 'partition ' || s.idle[1] || ' is idle' ELSE 'all partitions are idle' END
            WHEN s.silent IS NOT NULL THEN
                pg_catalog.format('%s %s no rows yet', tidemark_state.name_partitions(s.silent, s.n),
                                  CASE pg_catalog.cardinality(s.silent) WHEN 1 THEN 'has' ELSE 'have' END)
            WHEN s.next_lowest - s.lowest >= '1 s' THEN
                pg_catalog.format('partition %s is %s behind the others', s.holder,
                                  tidemark_state.in_words(s.next_lowest - s.lowest))
            WHEN s.watermark - s.lowest >= '1 s' THEN
                pg_catalog.format('partition %s is %s behind the watermark', s.holder,
                                  tidemark_state.in_words(s.watermark - s.lowest))
            WHEN pg_catalog.cardinality(s.idle) = 1 THEN
                pg_catalog.format('partition %s is idle since %s', s.idle[1], s.idle_since)
            WHEN s.idle IS NOT NULL THEN tidemark_state.name_partitions(s.idle, s.n) || ' are idle'
       END AS watermark_reason,
       s.last_message_at
FROM (SELECT p.stream,
             pg_catalog.count(*) AS n,
             pg_catalog.sum(p.rows)::bigint AS rows,
             pg_catalog.sum(p.dead_letters)::bigint AS dead_letters,
             pg_catalog.sum(p.skipped)::bigint AS skipped,
             pg_catalog.sum(p.shed)::bigint AS shed,
             pg_catalog.sum(p.future_rows)::bigint AS future_rows,
             pg_catalog.sum(p.end_offset - least(p.first_offset, p.end_offset)) AS total,
             pg_catalog.sum(least(p.next_offset, p.end_offset) - least(p.first_offset, p.end_offset)) AS done,
             pg_catalog.sum(p.end_offset - least(p.next_offset, p.end_offset))::bigint AS lag,
             pg_catalog.min(p.last_timestamp) FILTER (WHERE p.end_offset > p.next_offset) AS oldest,
             pg_catalog.max(p.stream_watermark) AS watermark,
             pg_catalog.min(p.watermark) FILTER (WHERE NOT p.idle) AS lowest,
             (pg_catalog.array_agg(p.partition ORDER BY p.watermark, p.partition) FILTER (WHERE NOT p.idle))[1] AS holder,
             (pg_catalog.array_agg(p.watermark ORDER BY p.watermark, p.partition) FILTER (WHERE NOT p.idle))[2] AS next_lowest,
             pg_catalog.array_agg(p.partition ORDER BY p.partition) FILTER (WHERE p.watermark IS NULL AND NOT p.idle) AS silent,
             pg_catalog.array_agg(p.partition ORDER BY p.partition) FILTER (WHERE p.idle) AS idle,
             pg_catalog.min(p.idle_since) FILTER (WHERE p.idle) AS idle_since,
             pg_catalog.max(p.last_message_at) AS last_message_at
      FROM tidemark_state.watched_partition p
      GROUP BY p.stream) s;
COMMENT ON VIEW tidemark_state.stream_progress IS 'positions, watermarks and counters of the partitions of a stream together';

-- What keeps the wanted workers of an ingest from working: the worst per stream.
-- A process that is only just being started is not trouble.
CREATE VIEW tidemark_state.ingest_trouble AS
WITH slot AS MATERIALIZED (SELECT * FROM tidemark_state.worker_status())
SELECT DISTINCT ON (i.stream) i.stream,
       CASE WHEN d.disabled THEN '"tidemark.enabled" is off'
            WHEN w.sqlstate IS NOT NULL THEN
                coalesce(w.message, pg_catalog.format('worker %s has failed', n.index))
            ELSE coalesce(m.message, pg_catalog.format('there is no process for worker %s', n.index))
       END AS reason,
       CASE WHEN d.disabled THEN 'Set it to on and reload the configuration.'
            WHEN w.sqlstate IS NOT NULL THEN w.hint
            ELSE coalesce(m.hint, 'See tidemark.workers and the server''s log; "tidemark.max_workers", '
                                  '"tidemark.max_workers_per_database" and "max_worker_processes" limit the processes.')
       END AS hint,
       CASE WHEN NOT d.disabled THEN coalesce(w.sqlstate, m.sqlstate) END AS sqlstate,
       coalesce(CASE WHEN NOT d.disabled THEN coalesce(w.trouble_since, m.trouble_since) END, w.state_since,
                greatest(i.since, pg_catalog.pg_postmaster_start_time())) AS since
FROM tidemark_state.ingest i
     CROSS JOIN LATERAL pg_catalog.generate_series(0, i.workers - 1) AS n (index)
     LEFT JOIN slot w ON w.role = 'ingest' AND w.object = i.stream::oid AND w.index = n.index
     LEFT JOIN slot m ON m.role = 'scheduler' AND m.sqlstate IS NOT NULL
     CROSS JOIN LATERAL (
         SELECT w.state IS DISTINCT FROM 'running'
                AND NOT pg_catalog.current_setting('tidemark.enabled')::boolean AS disabled) d
WHERE i.state = 'running'
      AND NOT tidemark_state.is_manual(i.stream)
      AND NOT pg_catalog.pg_is_in_recovery()
      AND (d.disabled OR w.sqlstate IS NOT NULL OR w.state = 'backoff'
           OR (w.state IS DISTINCT FROM 'running' AND m.sqlstate IS NOT NULL)
           OR (w.state IS DISTINCT FROM 'running'
               AND greatest(coalesce(w.state_since, i.since), pg_catalog.pg_postmaster_start_time())
                   < pg_catalog.statement_timestamp() - interval '10 s'))
ORDER BY i.stream, d.disabled DESC, w.sqlstate IS NULL, w.trouble_since, n.index;
COMMENT ON VIEW tidemark_state.ingest_trouble IS 'running ingests that do not get on, and why';

CREATE VIEW tidemark.ingests WITH (security_barrier) AS
WITH slot AS MATERIALIZED (SELECT * FROM tidemark_state.worker_status()),
     trouble AS MATERIALIZED (SELECT * FROM tidemark_state.ingest_trouble)
SELECT i.stream, i.into_table,
       CASE WHEN r.restored THEN 'paused' WHEN t.stream IS NOT NULL THEN 'retrying' ELSE i.state END AS state,
       CASE WHEN r.restored THEN 'restored' WHEN t.stream IS NOT NULL THEN t.reason
            ELSE (SELECT e.reason FROM tidemark_state.failure e WHERE e.relation = i.stream) END AS reason,
       CASE WHEN r.restored THEN
                pg_catalog.format('Use SELECT tidemark.resume(%L) to continue at the restored offsets.', i.stream::text)
                || CASE WHEN i.state <> 'running' THEN
                       pg_catalog.format(' Before, it was %s%s.', i.state,
                                         (SELECT ': ' || e.reason FROM tidemark_state.failure e WHERE e.relation = i.stream))
                   ELSE '' END
            WHEN t.stream IS NOT NULL THEN t.hint
            ELSE (SELECT e.hint FROM tidemark_state.failure e WHERE e.relation = i.stream) END AS hint,
       CASE WHEN r.restored THEN NULL WHEN t.stream IS NOT NULL THEN t.sqlstate ELSE i.sqlstate END AS sqlstate,
       CASE WHEN NOT r.restored AND t.stream IS NOT NULL THEN t.since ELSE i.since END AS since,
       i.workers,
       coalesce(p.rows, 0) AS rows,
       coalesce(p.dead_letters, 0) AS dead_letters,
       coalesce(p.skipped, 0) AS skipped,
       p.lag, p.delay, p.watermark,
       coalesce(p.watermark_reason, CASE WHEN p.stream IS NULL THEN 'no partition is known yet' END) AS watermark_reason,
       w.rows_per_second,
       greatest(w.last_commit, p.last_message_at) AS last_commit,
       i.absent_fields, i.topic, i.start_at,
       coalesce(p.future_rows, 0) AS future_rows,
       coalesce(p.shed, 0) AS shed
FROM tidemark_state.ingest i
     CROSS JOIN LATERAL (SELECT NOT tidemark_state.is_ours(i.system_identifier, i.database) AS restored) r
     LEFT JOIN trouble t ON t.stream = i.stream
     LEFT JOIN tidemark_state.stream_progress p ON p.stream = i.stream
     LEFT JOIN LATERAL (SELECT pg_catalog.sum(s.rows_per_second) AS rows_per_second,
                               pg_catalog.max(s.last_commit) AS last_commit
                        FROM slot s WHERE s.role = 'ingest' AND s.object = i.stream::oid) w ON true
WHERE tidemark_state.may_see(i.stream);

COMMENT ON VIEW tidemark.ingests IS 'streams that are consumed: state, progress and counters; those that you may see';
COMMENT ON COLUMN tidemark.ingests.stream IS 'the stream, a foreign table';
COMMENT ON COLUMN tidemark.ingests.into_table IS 'table that gets its rows; NULL = only continuous views do';
COMMENT ON COLUMN tidemark.ingests.state IS 'running, retrying (an obstacle outside the data: goes on by itself), paused, failed (waits for you)';
COMMENT ON COLUMN tidemark.ingests.reason IS 'why it is not running, in words; NULL = all is well';
COMMENT ON COLUMN tidemark.ingests.hint IS 'what to do about it';
COMMENT ON COLUMN tidemark.ingests.sqlstate IS 'SQLSTATE of the error behind reason';
COMMENT ON COLUMN tidemark.ingests.since IS 'time since when state and reason are what they are';
COMMENT ON COLUMN tidemark.ingests.workers IS 'number of worker processes wanted';
COMMENT ON COLUMN tidemark.ingests.rows IS 'messages decoded to rows, a counter';
COMMENT ON COLUMN tidemark.ingests.dead_letters IS 'messages set aside as dead letters, a counter';
COMMENT ON COLUMN tidemark.ingests.skipped IS 'offsets left out, by reset_ingest() or shed_above_lag, a counter';
COMMENT ON COLUMN tidemark.ingests.lag IS 'offsets between committed and end offset, over all partitions; NULL = end offsets not known yet';
COMMENT ON COLUMN tidemark.ingests.delay IS 'age of the last committed message, by its Kafka timestamp, in the partition furthest behind; 0 when caught up; NULL = nothing committed yet';
COMMENT ON COLUMN tidemark.ingests.watermark IS 'event time before which every row has been seen: the minimum over the partitions that are not idle, never going back; NULL = none yet';
COMMENT ON COLUMN tidemark.ingests.watermark_reason IS 'what the watermark waits for, or which partitions it does not wait for; NULL = nothing in particular';
COMMENT ON COLUMN tidemark.ingests.rows_per_second IS 'rows per second, moving average over all workers; NULL = no worker';
COMMENT ON COLUMN tidemark.ingests.last_commit IS 'time of the last commit of a batch';
COMMENT ON COLUMN tidemark.ingests.absent_fields IS 'columns whose member no message has had so far';
COMMENT ON COLUMN tidemark.ingests.topic IS 'Kafka topic that the offsets belong to';
COMMENT ON COLUMN tidemark.ingests.start_at IS 'where the ingest was told to start; NULL = earliest';
COMMENT ON COLUMN tidemark.ingests.future_rows IS 'rows beyond watermark_max_future, which moved no watermark, a counter';
COMMENT ON COLUMN tidemark.ingests.shed IS 'offsets of skipped that shed_above_lag left out, a counter';

CREATE VIEW tidemark.partitions WITH (security_barrier) AS
SELECT p.stream, p.partition, p.next_offset, p.end_offset,
       p.end_offset - least(p.next_offset, p.end_offset) AS lag,
       p.watermark, p.max_event_time,
       p.idle, p.last_message_at,
       CASE WHEN p.sqlstate IS NOT NULL THEN coalesce(p.message, 'its worker has failed') END AS error,
       p.rows, p.dead_letters, p.skipped, p.future_rows, p.shed
FROM tidemark_state.watched_partition p
WHERE tidemark_state.may_see(p.stream);

COMMENT ON VIEW tidemark.partitions IS 'partitions of the streams that are consumed: position, watermark and counters; those that you may see';
COMMENT ON COLUMN tidemark.partitions.stream IS 'the stream, a foreign table';
COMMENT ON COLUMN tidemark.partitions.partition IS 'number of the Kafka partition';
COMMENT ON COLUMN tidemark.partitions.next_offset IS 'offset to be read next: everything below is committed';
COMMENT ON COLUMN tidemark.partitions.end_offset IS 'end of the log, as last seen by a worker; NULL = not known yet';
COMMENT ON COLUMN tidemark.partitions.lag IS 'offsets between next_offset and end_offset';
COMMENT ON COLUMN tidemark.partitions.watermark IS 'largest event time seen, minus watermark_delay; NULL = no row yet';
COMMENT ON COLUMN tidemark.partitions.max_event_time IS 'largest event time seen';
COMMENT ON COLUMN tidemark.partitions.idle IS 'silent for watermark_idle_timeout and at the end of the log: the watermark of the stream does not wait for it';
COMMENT ON COLUMN tidemark.partitions.last_message_at IS 'time when the last message was applied';
COMMENT ON COLUMN tidemark.partitions.error IS 'why its worker does not get on; NULL = all is well';
COMMENT ON COLUMN tidemark.partitions.rows IS 'messages decoded to rows, a counter';
COMMENT ON COLUMN tidemark.partitions.dead_letters IS 'messages set aside as dead letters, a counter';
COMMENT ON COLUMN tidemark.partitions.skipped IS 'offsets left out, by reset_ingest() or shed_above_lag, a counter';
COMMENT ON COLUMN tidemark.partitions.future_rows IS 'rows beyond watermark_max_future, which moved no watermark, a counter';
COMMENT ON COLUMN tidemark.partitions.shed IS 'offsets of skipped that shed_above_lag left out, a counter';

CREATE VIEW tidemark.views WITH (security_barrier) AS
WITH slot AS MATERIALIZED (SELECT * FROM tidemark_state.worker_status() WHERE role = 'backfill')
SELECT v.view, v.source,
       pg_catalog.pg_get_userbyid(c.relowner) AS owner,
       tidemark_state.view_definition(v.query_view) AS definition,
       v.options, v.start_at,
       CASE WHEN f.restored THEN 'paused' ELSE v.state END AS state,
       CASE WHEN f.restored THEN 'restored'
            WHEN w.sqlstate IS NOT NULL THEN coalesce(w.message, 'its backfill has failed and is tried again')
            ELSE (SELECT e.reason FROM tidemark_state.failure e WHERE e.relation = v.state_table) END AS reason,
       CASE WHEN f.restored THEN
                CASE WHEN i.stream IS NULL
                     THEN pg_catalog.format('Use SELECT tidemark.resume(%L) to compute it from the rows of its table.', v.view::text)
                     ELSE pg_catalog.format('Use SELECT tidemark.resume(%L) to continue at the restored offsets.', i.stream::text) END
            WHEN w.sqlstate IS NOT NULL THEN w.hint
            ELSE (SELECT e.hint FROM tidemark_state.failure e WHERE e.relation = v.state_table) END AS hint,
       CASE WHEN f.restored THEN NULL ELSE coalesce(w.sqlstate, v.sqlstate) END AS sqlstate,
       CASE WHEN NOT f.restored AND w.sqlstate IS NOT NULL THEN w.trouble_since ELSE v.since END AS since,
       CASE WHEN v.state = 'live' THEN 1
            WHEN v.own_offsets THEN coalesce(CASE WHEN o.total = 0 THEN 1 ELSE o.done / o.total END, 0)
            WHEN v.state = 'backfilling' THEN coalesce(CASE WHEN p.total = 0 THEN 1 ELSE p.done / p.total END, 0)
            WHEN v.populated THEN 1
            ELSE 0 END::double precision AS progress,
       CASE WHEN f.follows THEN p.lag ELSE o.lag END AS lag,
       CASE WHEN f.follows THEN p.delay WHEN o.lag = 0 THEN '0 s' END AS delay,
       CASE WHEN f.follows THEN coalesce(s.horizon, p.watermark) END AS watermark,
       CASE WHEN pg_catalog.pg_stat_get_live_tuples(v.state_table) > 0
                THEN pg_catalog.pg_stat_get_live_tuples(v.state_table)
            ELSE tidemark_state.relation_rows(v.state_table) END AS groups,
       tidemark_state.relation_bytes(v.state_table) AS state_bytes,
       coalesce(s.rows, 0) AS rows,
       coalesce(s.late, 0) AS late,
       pg_catalog.make_interval(secs => coalesce(s.maintain_us, 0) / 1000000.0) AS maintain_time,
       s.closed_until, s.pruned_until,
       coalesce(s.closed, 0) AS closed
FROM tidemark_state.view v
     LEFT JOIN pg_catalog.pg_class c ON c.oid = v.view
     LEFT JOIN tidemark_state.view_stats s ON s.state_table = v.state_table
     LEFT JOIN tidemark_state.ingest i ON v.source IN (i.stream, i.into_table)
     LEFT JOIN tidemark_state.stream_progress p ON p.stream = i.stream
     LEFT JOIN slot w ON w.object = v.state_table::oid AND v.state = 'backfilling'
     CROSS JOIN LATERAL (
         SELECT (v.state IN ('live', 'backfilling')
                 AND NOT tidemark_state.is_ours(v.system_identifier, v.database)
                 AND (i.stream IS NULL OR NOT tidemark_state.is_ours(i.system_identifier, i.database))) IS TRUE AS restored,
                v.state IN ('live', 'backfilling') AND NOT v.own_offsets AS follows) f
     CROSS JOIN LATERAL (
         SELECT pg_catalog.sum(x.target_offset - x.start_offset) AS total,
                pg_catalog.sum(greatest(least(x.next_offset, x.target_offset) - x.start_offset, 0)) AS done,
                pg_catalog.sum(y.end_offset - least(x.next_offset, y.end_offset))::bigint AS lag
         FROM tidemark_state.view_partition x
              LEFT JOIN tidemark_state.partition y ON y.stream = v.source AND y.partition = x.partition
         WHERE x.state_table = v.state_table AND v.own_offsets) o
WHERE tidemark_state.may_see(v.view);

COMMENT ON VIEW tidemark.views IS 'continuous views: query, state, progress and counters; those that you may see';
COMMENT ON COLUMN tidemark.views.view IS 'the continuous view';
COMMENT ON COLUMN tidemark.views.source IS 'stream or table whose rows it aggregates';
COMMENT ON COLUMN tidemark.views.owner IS 'owner of the view, as whom it is maintained';
COMMENT ON COLUMN tidemark.views.definition IS 'its query; NULL while a relation in it is locked';
COMMENT ON COLUMN tidemark.views.options IS 'its tidemark.* options, as name=value';
COMMENT ON COLUMN tidemark.views.start_at IS 'where in the stream it starts; NULL = earliest';
COMMENT ON COLUMN tidemark.views.state IS 'backfilling, live, paused, failed (waits for you)';
COMMENT ON COLUMN tidemark.views.reason IS 'why it is not getting on, in words; NULL = all is well';
COMMENT ON COLUMN tidemark.views.hint IS 'what to do about it';
COMMENT ON COLUMN tidemark.views.sqlstate IS 'SQLSTATE of the error behind reason';
COMMENT ON COLUMN tidemark.views.since IS 'time since when state and reason are what they are';
COMMENT ON COLUMN tidemark.views.progress IS 'share of its history that it has taken in, 0 to 1; 1 when live';
COMMENT ON COLUMN tidemark.views.lag IS 'offsets between its position and the end of the log; NULL when paused or failed, or when its table is not ingested';
COMMENT ON COLUMN tidemark.views.delay IS 'age of the last message taken in, by its Kafka timestamp; 0 when caught up; NULL during backfill, paused or failed';
COMMENT ON COLUMN tidemark.views.watermark IS 'watermark of its stream, of a view that closes windows the one they were last closed by; NULL during backfill, paused or failed';
COMMENT ON COLUMN tidemark.views.groups IS 'number of groups it keeps, an estimate; NULL while they are locked';
COMMENT ON COLUMN tidemark.views.state_bytes IS 'disk space of its groups with indexes, in bytes; NULL while they are locked';
COMMENT ON COLUMN tidemark.views.rows IS 'rows taken in since it was made, a counter; without the history of a table';
COMMENT ON COLUMN tidemark.views.late IS 'late rows left out, once per window, a counter';
COMMENT ON COLUMN tidemark.views.maintain_time IS 'time spent on maintaining it, a counter';
COMMENT ON COLUMN tidemark.views.closed_until IS 'all windows that end up to then are closed';
COMMENT ON COLUMN tidemark.views.pruned_until IS 'all windows that end up to then have left the view, by tidemark.retention';
COMMENT ON COLUMN tidemark.views.closed IS 'groups of closed windows of a view with tidemark.emit = ''final'', a counter';

CREATE VIEW tidemark.dead_letters WITH (security_barrier) AS
SELECT s.stream, d.topic, d.partition, d.kafka_offset, d.kafka_timestamp, d.watermark, d.key, d.value,
       tidemark_state.readable_text(d.value) AS value_text,
       d.headers, d.stage, d.sqlstate, d.message, d.recorded_at
FROM tidemark_state.stream s
     CROSS JOIN LATERAL tidemark_state.dead_letters(s.stream) d
WHERE s.dead_letters IS NOT NULL;

CREATE TRIGGER delete_dead_letter INSTEAD OF DELETE ON tidemark.dead_letters
    FOR EACH ROW EXECUTE FUNCTION tidemark_state.delete_dead_letter();
COMMENT ON TRIGGER delete_dead_letter ON tidemark.dead_letters IS 'the owner of a stream may delete its dead letters';

COMMENT ON VIEW tidemark.dead_letters IS 'messages that could not be applied, of the streams that you own or may SELECT; owners may DELETE';
COMMENT ON COLUMN tidemark.dead_letters.stream IS 'the stream, a foreign table';
COMMENT ON COLUMN tidemark.dead_letters.topic IS 'Kafka topic of the message';
COMMENT ON COLUMN tidemark.dead_letters.partition IS 'Kafka partition of the message';
COMMENT ON COLUMN tidemark.dead_letters.kafka_offset IS 'Kafka offset of the message';
COMMENT ON COLUMN tidemark.dead_letters.kafka_timestamp IS 'Kafka timestamp of the message';
COMMENT ON COLUMN tidemark.dead_letters.watermark IS 'watermark of its partition before it; NULL = none yet';
COMMENT ON COLUMN tidemark.dead_letters.key IS 'key of the message';
COMMENT ON COLUMN tidemark.dead_letters.value IS 'value of the message; NULL = a tombstone';
COMMENT ON COLUMN tidemark.dead_letters.value_text IS 'first 1000 characters of value as text, bytes that are not UTF-8 as \xNN';
COMMENT ON COLUMN tidemark.dead_letters.headers IS 'headers of the message';
COMMENT ON COLUMN tidemark.dead_letters.stage IS 'decode: not a row of the stream; table: refused by the table';
COMMENT ON COLUMN tidemark.dead_letters.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN tidemark.dead_letters.message IS 'what is wrong with it';
COMMENT ON COLUMN tidemark.dead_letters.recorded_at IS 'time when it was set aside';

CREATE VIEW tidemark.late_rows WITH (security_barrier) AS
SELECT v.view, l.window_start, l.window_end, l.partition, l.kafka_offset, l.event_time, l.watermark, l."row", l.recorded_at
FROM tidemark_state.view v
     CROSS JOIN LATERAL tidemark_state.late_rows(v.state_table) l
WHERE v.late_table IS NOT NULL;

CREATE TRIGGER delete_late_row INSTEAD OF DELETE ON tidemark.late_rows
    FOR EACH ROW EXECUTE FUNCTION tidemark_state.delete_late_row();
COMMENT ON TRIGGER delete_late_row ON tidemark.late_rows IS 'the owner of a continuous view may delete its late rows';

COMMENT ON VIEW tidemark.late_rows IS 'late rows that continuous views with tidemark.late = ''table'' left out and kept, of the views that you own or whose source you may SELECT; a row that is late for several windows appears once for each; owners may DELETE';
COMMENT ON COLUMN tidemark.late_rows.view IS 'the continuous view';
COMMENT ON COLUMN tidemark.late_rows.window_start IS 'start of the window that the row came too late for; NULL = a view over sessions';
COMMENT ON COLUMN tidemark.late_rows.window_end IS 'end of that window; NULL = a view over sessions';
COMMENT ON COLUMN tidemark.late_rows.partition IS 'Kafka partition of the message';
COMMENT ON COLUMN tidemark.late_rows.kafka_offset IS 'Kafka offset of the message';
COMMENT ON COLUMN tidemark.late_rows.event_time IS 'event time of the row';
COMMENT ON COLUMN tidemark.late_rows.watermark IS 'watermark of its partition before it; NULL = none yet';
COMMENT ON COLUMN tidemark.late_rows."row" IS 'the row, by the names of its source''s columns; a value of type json as a string';
COMMENT ON COLUMN tidemark.late_rows.recorded_at IS 'time when it was set aside';

CREATE VIEW tidemark.workers WITH (security_barrier) AS
SELECT w.pid,
       CASE w.role WHEN 'ingest' THEN w.object::regclass WHEN 'backfill' THEN v.source END AS stream,
       w.role, w.state,
       CASE WHEN w.state = 'running' THEN tidemark_state.worker_wait(w.pid)
            WHEN w.state = 'backoff' THEN 'waiting to be restarted'
            ELSE 'waiting for a process' END AS wait,
       w.batches,
       pg_catalog.make_interval(secs => w.poll_us / 1000000.0) AS poll_time,
       pg_catalog.make_interval(secs => w.decode_us / 1000000.0) AS decode_time,
       pg_catalog.make_interval(secs => w.store_us / 1000000.0) AS store_time,
       pg_catalog.make_interval(secs => w.maintain_us / 1000000.0) AS maintain_time,
       pg_catalog.make_interval(secs => w.commit_us / 1000000.0) AS commit_time,
       v.view, w.index, w.phase, w.rows_per_second, w.last_commit,
       w.started_at, w.message AS reason, w.hint, w.sqlstate,
       coalesce(w.trouble_since, w.state_since) AS since,
       w.failures, w.next_start
FROM tidemark_state.worker_status() w
     LEFT JOIN tidemark_state.view v ON w.role = 'backfill' AND v.state_table::oid = w.object
WHERE tidemark_state.may_see(CASE w.role WHEN 'ingest' THEN w.object WHEN 'partitioning' THEN w.object WHEN 'backfill' THEN v.view::oid ELSE 0::oid END);

COMMENT ON VIEW tidemark.workers IS 'background processes of this database, wanted or running, on relations that you may see; the scheduler for pg_monitor only';
COMMENT ON COLUMN tidemark.workers.pid IS 'process ID; NULL = no process now';
COMMENT ON COLUMN tidemark.workers.stream IS 'stream that it reads; NULL for the scheduler and partitioning';
COMMENT ON COLUMN tidemark.workers.role IS 'scheduler, ingest, backfill, partitioning (a short-lived one: see tidemark.partitioned_tables)';
COMMENT ON COLUMN tidemark.workers.state IS 'wanted, starting, running, backoff (failed, is restarted at next_start)';
COMMENT ON COLUMN tidemark.workers.wait IS 'what it waits for, in words; NULL = it works';
COMMENT ON COLUMN tidemark.workers.batches IS 'batches committed since the server started, a counter';
COMMENT ON COLUMN tidemark.workers.poll_time IS 'time the last batch spent on reading from Kafka';
COMMENT ON COLUMN tidemark.workers.decode_time IS 'time the last batch spent on decoding';
COMMENT ON COLUMN tidemark.workers.store_time IS 'time the last batch spent on storing rows';
COMMENT ON COLUMN tidemark.workers.maintain_time IS 'time the last batch spent on continuous views';
COMMENT ON COLUMN tidemark.workers.commit_time IS 'time the last batch spent on saving offsets and commit';
COMMENT ON COLUMN tidemark.workers.view IS 'continuous view that a backfill fills';
COMMENT ON COLUMN tidemark.workers.index IS 'number among the workers of the stream, from 0: it reads partitions that give this number modulo their count';
COMMENT ON COLUMN tidemark.workers.phase IS 'what it does now: poll, decode, store, maintain, commit; the scheduler: wait, look';
COMMENT ON COLUMN tidemark.workers.rows_per_second IS 'rows per second, moving average';
COMMENT ON COLUMN tidemark.workers.last_commit IS 'time of its last commit of a batch';
COMMENT ON COLUMN tidemark.workers.started_at IS 'time when the process started';
COMMENT ON COLUMN tidemark.workers.reason IS 'why it does not get on; NULL = all is well, or you may not read it';
COMMENT ON COLUMN tidemark.workers.hint IS 'what to do about it';
COMMENT ON COLUMN tidemark.workers.sqlstate IS 'SQLSTATE of the error behind reason';
COMMENT ON COLUMN tidemark.workers.since IS 'time since when state or reason are what they are';
COMMENT ON COLUMN tidemark.workers.failures IS 'failures in a row since the last good batch';
COMMENT ON COLUMN tidemark.workers.next_start IS 'time of the next attempt; NULL while it runs';

CREATE VIEW tidemark.partitioned_tables WITH (security_barrier) AS
SELECT p.parent,
       CASE WHEN NOT tidemark_state.is_ours(p.system_identifier, p.database) THEN 'paused'
            WHEN w.failures > 0 THEN 'retrying'
            ELSE 'running' END AS state,
       CASE WHEN NOT tidemark_state.is_ours(p.system_identifier, p.database) THEN 'restored'
            ELSE w.message END AS reason,
       w.hint, w.sqlstate, p.step, p.premake, p.retention, p.made_until,
       (SELECT pg_catalog.count(*) FROM pg_catalog.pg_inherits h WHERE h.inhparent = p.parent) AS table_partitions,
       p.next_run
FROM tidemark_state.partitioning p
     LEFT JOIN tidemark_state.worker_status() w ON w.role = 'partitioning' AND w.object = p.parent::oid
WHERE tidemark_state.may_see(p.parent);

COMMENT ON VIEW tidemark.partitioned_tables IS 'tables whose partitions partition_by_time() looks after; those that you may see';
COMMENT ON COLUMN tidemark.partitioned_tables.parent IS 'the partitioned table';
COMMENT ON COLUMN tidemark.partitioned_tables.state IS 'running, retrying (an obstacle: tried again by itself), paused (restored)';
COMMENT ON COLUMN tidemark.partitioned_tables.reason IS 'why it is not getting on, in words; NULL = all is well';
COMMENT ON COLUMN tidemark.partitioned_tables.hint IS 'what to do about it';
COMMENT ON COLUMN tidemark.partitioned_tables.sqlstate IS 'SQLSTATE of the error behind reason';
COMMENT ON COLUMN tidemark.partitioned_tables.step IS 'range of one table partition';
COMMENT ON COLUMN tidemark.partitioned_tables.premake IS 'number of table partitions that are made ahead';
COMMENT ON COLUMN tidemark.partitioned_tables.retention IS 'how long after its end a table partition is kept; NULL = for ever';
COMMENT ON COLUMN tidemark.partitioned_tables.made_until IS 'time up to which table partitions have been made';
COMMENT ON COLUMN tidemark.partitioned_tables.table_partitions IS 'number of table partitions that there are, with a default partition';
COMMENT ON COLUMN tidemark.partitioned_tables.next_run IS 'time when the background process looks at it again';

GRANT SELECT ON tidemark.partitioned_tables, tidemark.ingests, tidemark.partitions, tidemark.views, tidemark.dead_letters, tidemark.late_rows, tidemark.workers TO PUBLIC;
GRANT DELETE ON tidemark.dead_letters, tidemark.late_rows TO PUBLIC;
