-- stream: the foreign data wrapper.  Who may create servers is for the
-- administrator to say (GRANT USAGE ON FOREIGN DATA WRAPPER tidemark_kafka): a
-- server makes this host connect to a host of the user's choice.

CREATE FUNCTION tidemark_state.stream_handler()
RETURNS pg_catalog.fdw_handler
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_stream_handler';
COMMENT ON FUNCTION tidemark_state.stream_handler() IS 'handler of the foreign data wrapper tidemark_kafka';

CREATE FUNCTION tidemark_state.stream_validator(options pg_catalog.text[], catalog pg_catalog.oid)
RETURNS pg_catalog.void
LANGUAGE C VOLATILE STRICT PARALLEL SAFE
AS 'MODULE_PATHNAME', 'tm_stream_validator';
COMMENT ON FUNCTION tidemark_state.stream_validator(pg_catalog.text[], pg_catalog.oid) IS 'validator of the foreign data wrapper tidemark_kafka';

REVOKE ALL ON FUNCTION tidemark_state.stream_handler() FROM PUBLIC;
REVOKE ALL ON FUNCTION tidemark_state.stream_validator(pg_catalog.text[], pg_catalog.oid) FROM PUBLIC;

CREATE FOREIGN DATA WRAPPER tidemark_kafka
    HANDLER tidemark_state.stream_handler
    VALIDATOR tidemark_state.stream_validator;
COMMENT ON FOREIGN DATA WRAPPER tidemark_kafka IS 'streams: Kafka topics, and manual streams, as foreign tables';

