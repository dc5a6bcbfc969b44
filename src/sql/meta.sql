-- meta: the extension's own tables.  Written only by tidemark; readable by
-- everybody, so that pg_dump by an owner works: names, options and numbers only.

CREATE TABLE tidemark_state.stream (
    stream       regclass PRIMARY KEY,
    dead_letters regclass,
    log          regclass
);
COMMENT ON TABLE tidemark_state.stream IS 'side tables of a stream: dead letters, and the kept log of a manual stream';

CREATE TABLE tidemark_state.ingest (
    stream            regclass PRIMARY KEY,
    into_table        regclass UNIQUE,
    workers           integer NOT NULL,
    state             text NOT NULL CHECK (state IN ('running', 'paused', 'failed')),
    sqlstate          text,
    since             timestamptz NOT NULL,
    start_at          text,
    implicit          boolean NOT NULL,
    topic             text NOT NULL,
    cluster_id        text,
    absent_fields     text[],
    system_identifier bigint NOT NULL,
    database          oid NOT NULL
);
COMMENT ON TABLE tidemark_state.ingest IS 'one row per stream that is consumed: what is wanted, and its durable state';

CREATE TABLE tidemark_state.partition (
    stream           regclass NOT NULL,
    partition        integer NOT NULL,
    first_offset     bigint NOT NULL,
    next_offset      bigint NOT NULL,
    end_offset       bigint,
    max_event_time   timestamptz,
    watermark        timestamptz,
    stream_watermark timestamptz,
    idle_since       timestamptz,
    rows             bigint NOT NULL,
    dead_letters     bigint NOT NULL,
    skipped          bigint NOT NULL,
    shed             bigint NOT NULL DEFAULT 0,
    future_rows      bigint NOT NULL DEFAULT 0,
    last_offset      bigint,
    last_hash        bigint,
    last_timestamp   timestamptz,
    last_message_at  timestamptz,
    PRIMARY KEY (stream, partition) WITH (deduplicate_items = off)
) WITH (fillfactor = 50);
COMMENT ON TABLE tidemark_state.partition IS 'position, watermark and counters of each partition of a stream; changes in the transaction of each batch';

CREATE TABLE tidemark_state.clock (
    role oid PRIMARY KEY,
    now  timestamptz
);
COMMENT ON TABLE tidemark_state.clock IS 'time of the manual streams of a role (0: of all others) as set_clock() has set it; NULL = real time';

CREATE TABLE tidemark_state.skipped_range (
    stream      regclass NOT NULL,
    partition   integer NOT NULL,
    from_offset bigint NOT NULL,
    to_offset   bigint NOT NULL,
    recorded_at timestamptz NOT NULL,
    shed        boolean NOT NULL DEFAULT false
);
COMMENT ON TABLE tidemark_state.skipped_range IS 'offsets that were left out by reset_ingest() or, if shed, by option shed_above_lag: from_offset up to, not including, to_offset';

CREATE TABLE tidemark_state.replayed (
    stream       regclass NOT NULL,
    partition    integer NOT NULL,
    kafka_offset bigint NOT NULL,
    recorded_at  timestamptz NOT NULL
);
COMMENT ON TABLE tidemark_state.replayed IS 'messages that could not be decoded when their batch came, and were replayed: they have moved no watermark';

CREATE TABLE tidemark_state.view (
    state_table       regclass PRIMARY KEY,
    view              regclass NOT NULL UNIQUE,
    query_view        regclass NOT NULL UNIQUE,
    final_table       regclass UNIQUE,
    late_table        regclass UNIQUE,
    source            regclass NOT NULL,
    state             text NOT NULL CHECK (state IN ('backfilling', 'live', 'paused', 'failed')),
    populated         boolean NOT NULL,
    own_offsets       boolean NOT NULL,
    sqlstate          text,
    since             timestamptz NOT NULL,
    start_at          text,
    options           text[] NOT NULL,
    settings          text[] NOT NULL,
    stamps            text[] NOT NULL,
    system_identifier bigint NOT NULL,
    database          oid NOT NULL
);
CREATE INDEX view_source ON tidemark_state.view (source);
COMMENT ON TABLE tidemark_state.view IS 'one row per continuous view: the objects behind it and its durable state';

CREATE TABLE tidemark_state.view_partition (
    state_table   regclass NOT NULL,
    partition     integer NOT NULL,
    start_offset  bigint NOT NULL,
    next_offset   bigint NOT NULL,
    target_offset bigint NOT NULL,
    start_max_event_time timestamptz,
    max_event_time       timestamptz,
    PRIMARY KEY (state_table, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE tidemark_state.view_partition IS
    'where a view over a stream starts, and its own position while it does not follow the ingest; a next_offset before start_offset reads for the watermark only.
start_max_event_time, max_event_time: the largest event time below start_offset and next_offset that moved the watermark';

CREATE TABLE tidemark_state.view_skipped_range (
    state_table regclass NOT NULL,
    partition   integer NOT NULL,
    from_offset bigint NOT NULL,
    to_offset   bigint NOT NULL,
    recorded_at timestamptz NOT NULL
);
CREATE INDEX view_skipped_range_view ON tidemark_state.view_skipped_range (state_table);
COMMENT ON TABLE tidemark_state.view_skipped_range IS
    'skipped ranges that a view over a stream has left out with its ingest, noted when it stops following it; those since it follows it again are in skipped_range';

CREATE TABLE tidemark_state.view_stats (
    state_table regclass PRIMARY KEY WITH (deduplicate_items = off),
    rows         bigint NOT NULL,
    batches      bigint NOT NULL,
    maintain_us  bigint NOT NULL,
    late         bigint NOT NULL DEFAULT 0,
    closed       bigint NOT NULL DEFAULT 0,
    horizon      timestamptz,
    closed_until timestamptz,
    pruned_until timestamptz
) WITH (fillfactor = 50);
COMMENT ON TABLE tidemark_state.view_stats IS
    'counters of a continuous view, and how far its windows are closed; change in the transaction of each batch.
horizon: the watermark that windows were last closed by; closed_until, pruned_until: all windows that end up to then are closed, have left the view';

CREATE TABLE tidemark_state.verdict (
    state_table  regclass NOT NULL,
    partition    integer NOT NULL,
    kafka_offset bigint NOT NULL,
    window_start timestamptz,
    verdict      text NOT NULL CHECK (verdict IN ('closed', 'admitted'))
);
CREATE INDEX verdict_window ON tidemark_state.verdict (state_table, window_start);
COMMENT ON TABLE tidemark_state.verdict IS
    'verdicts on late rows that do not follow from the row: left out because the window was closed already (after an idle timeout, or by a partition added later), or admitted by admit_late().
window_start: of the window (cumulate: its window_end); the row''s event time for a view over sessions. Those of windows that have left the view go with them, but for sessions';

CREATE TABLE tidemark_state.partitioning (
    parent            regclass PRIMARY KEY,
    step              interval NOT NULL,
    premake           integer NOT NULL,
    retention         interval,
    made_until        timestamptz NOT NULL,
    next_run          timestamptz NOT NULL,
    system_identifier bigint NOT NULL,
    database          oid NOT NULL
);
COMMENT ON TABLE tidemark_state.partitioning IS 'one row per table that partition_by_time() looks after; table partitions up to made_until have been made, once';

CREATE TABLE tidemark_state.removed_range (
    state_table regclass NOT NULL,
    from_time   timestamptz NOT NULL,
    to_time     timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (state_table, from_time)
);
COMMENT ON TABLE tidemark_state.removed_range IS 'raw rows that were removed from the table of a continuous view after it had taken them in: from_time up to, not including, to_time of the column that the table is partitioned by (without time zone: as if in UTC); -infinity to infinity: any rows';

-- these have no key; a publication FOR ALL TABLES must not keep them from being written
ALTER TABLE tidemark_state.skipped_range REPLICA IDENTITY FULL;
ALTER TABLE tidemark_state.replayed REPLICA IDENTITY FULL;
ALTER TABLE tidemark_state.view_skipped_range REPLICA IDENTITY FULL;
ALTER TABLE tidemark_state.verdict REPLICA IDENTITY FULL;

GRANT SELECT ON ALL TABLES IN SCHEMA tidemark_state TO PUBLIC;

-- The words of an error may quote message content, so they are not for PUBLIC
-- (tidemark.ingests and tidemark.views show them to those who may read the
-- relation), and not dumped.
CREATE TABLE tidemark_state.failure (
    relation regclass PRIMARY KEY,
    reason   text NOT NULL,
    hint     text
);
COMMENT ON TABLE tidemark_state.failure IS 'why an ingest (by stream) or a continuous view (by state table) does not run, in words';

SELECT pg_catalog.pg_extension_config_dump('tidemark_state.stream', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.ingest', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.partition', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.skipped_range', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.replayed', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.view', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.view_partition', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.view_skipped_range', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.view_stats', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.verdict', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.partitioning', '');
SELECT pg_catalog.pg_extension_config_dump('tidemark_state.removed_range', '');

CREATE SEQUENCE tidemark_state.object_number AS integer;
COMMENT ON SEQUENCE tidemark_state.object_number IS 'numbers in the names of the objects in schema tidemark_state';

