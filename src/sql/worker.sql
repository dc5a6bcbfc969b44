-- worker: what the background processes of this database do.  Everybody sees
-- numbers, of this database only; the texts of errors are for those who may read
-- the object, and for pg_monitor.

CREATE FUNCTION tidemark_state.worker_status(
    OUT pid integer,
    OUT role text,
    OUT object oid,
    OUT index integer,
    OUT state text,
    OUT phase text,
    OUT started_at timestamptz,
    OUT state_since timestamptz,
    OUT sqlstate text,
    OUT trouble_since timestamptz,
    OUT message text,
    OUT hint text,
    OUT failures integer,
    OUT next_start timestamptz,
    OUT batches bigint,
    OUT poll_us bigint,
    OUT decode_us bigint,
    OUT store_us bigint,
    OUT maintain_us bigint,
    OUT commit_us bigint,
    OUT rows_per_second double precision,
    OUT last_commit timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'tm_worker_status'
LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION tidemark_state.worker_status() IS 'scheduler and workers of this database: wanted, running, or waiting to be restarted, and why';
