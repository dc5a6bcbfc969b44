-- view: the type of aggregate states, and what visible views are made of.

CREATE TYPE tidemark.aggstate;
CREATE FUNCTION tidemark_state.aggstate_in(pg_catalog.cstring) RETURNS tidemark.aggstate
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_aggstate_in';
CREATE FUNCTION tidemark_state.aggstate_out(tidemark.aggstate) RETURNS pg_catalog.cstring
    LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_aggstate_out';
CREATE TYPE tidemark.aggstate (
    INPUT = tidemark_state.aggstate_in,
    OUTPUT = tidemark_state.aggstate_out,
    INTERNALLENGTH = VARIABLE,
    STORAGE = extended
);
COMMENT ON TYPE tidemark.aggstate IS 'transition state of an aggregate whose state type is internal; opaque';
COMMENT ON FUNCTION tidemark_state.aggstate_in(pg_catalog.cstring) IS 'input of type tidemark.aggstate; superusers only (42501)';
COMMENT ON FUNCTION tidemark_state.aggstate_out(tidemark.aggstate) IS 'output of type tidemark.aggstate';

CREATE FUNCTION tidemark_state.int8_sum_add(state tidemark.aggstate, value pg_catalog.int8) RETURNS tidemark.aggstate
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_int8_sum_add';
COMMENT ON FUNCTION tidemark_state.int8_sum_add(tidemark.aggstate, pg_catalog.int8) IS
    'one more value in the state of a sum of bigint; error 42804 when it is the state of something else';
CREATE AGGREGATE tidemark_state.int8_sum(pg_catalog.int8) (
    SFUNC = tidemark_state.int8_sum_add,
    STYPE = tidemark.aggstate,
    SSPACE = 48,
    PARALLEL = SAFE
);
COMMENT ON AGGREGATE tidemark_state.int8_sum(pg_catalog.int8) IS
    'state that stands for sum(bigint) and avg(bigint) in continuous views';

CREATE FUNCTION tidemark.final(agg pg_catalog.regprocedure, state pg_catalog."any", result pg_catalog.anyelement)
    RETURNS pg_catalog.anyelement
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_final';
COMMENT ON FUNCTION tidemark.final(pg_catalog.regprocedure, pg_catalog."any", pg_catalog.anyelement) IS
    'result of an aggregate from its stored state; the third argument, NULL, gives the result type. Errors: 42804 when the state or the type is not the aggregate''s, 42501 without EXECUTE on it';

CREATE FUNCTION tidemark.combine(agg pg_catalog.regprocedure, a pg_catalog.anyelement, b pg_catalog.anyelement)
    RETURNS pg_catalog.anyelement
    LANGUAGE C IMMUTABLE PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_combine';
COMMENT ON FUNCTION tidemark.combine(pg_catalog.regprocedure, pg_catalog.anyelement, pg_catalog.anyelement) IS
    'two stored states of an aggregate as one. Errors: 42804 when they are not states of the aggregate, 42501 without EXECUTE on it';

CREATE FUNCTION tidemark.is_populated(state_table pg_catalog.regclass) RETURNS pg_catalog.bool
    LANGUAGE C STABLE STRICT PARALLEL SAFE AS 'MODULE_PATHNAME', 'tm_is_populated';
COMMENT ON FUNCTION tidemark.is_populated(pg_catalog.regclass) IS
    'true when the continuous view with this state table has its history; error 55000 otherwise, unless tidemark.read_unpopulated is on';

CREATE FUNCTION tidemark_state.batch_rows() RETURNS SETOF pg_catalog.record
    LANGUAGE C VOLATILE ROWS 1000 AS 'MODULE_PATHNAME', 'tm_batch_rows';
COMMENT ON FUNCTION tidemark_state.batch_rows() IS 'stands for the rows of the current batch in plans of the engine; cannot be called';
REVOKE ALL ON FUNCTION tidemark_state.batch_rows() FROM PUBLIC;

CREATE FUNCTION tidemark.admit_late(view pg_catalog.regclass) RETURNS pg_catalog.int8
    LANGUAGE C VOLATILE STRICT AS 'MODULE_PATHNAME', 'tm_admit_late';
COMMENT ON FUNCTION tidemark.admit_late(pg_catalog.regclass) IS
    'take the late rows that a continuous view with tidemark.late = ''table'' has kept into their windows; returns how many, a row once per window. Those whose windows have left the view stay. Errors: 42501, 42809 (not a continuous view), 55000 (failed, paused, not populated, or keeps no late rows), 0A000 (emit final without revisions)';
