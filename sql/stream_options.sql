-- Proves which options each object takes, and every refusal with its words.
CREATE EXTENSION tidemark;
SET intervalstyle = 'postgres';
\set VERBOSITY default
\set SHOW_CONTEXT always
CREATE ROLE regress_stream_user;
GRANT USAGE ON FOREIGN DATA WRAPPER tidemark_kafka TO regress_stream_user;

-- foreign data wrapper and server
ALTER FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (topic 'x');
ALTER FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (what 'x');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka;
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'pigeon');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_server 'localhost:1');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', topic 'x');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', sasl_password 'x');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', "bootstrap.servers" 'localhost:1');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual', bootstrap_servers 'localhost:1');
\set VERBOSITY terse
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', plugin_library_paths '/tmp/x.so');
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', debug 'all');
\set VERBOSITY default
SET ROLE regress_stream_user;
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', ssl_ca_location '/etc/passwd');
RESET ROLE;
CREATE SERVER s FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (bootstrap_servers 'localhost:1', security_protocol 'plaintext');
ALTER SERVER s OPTIONS (DROP bootstrap_servers);
CREATE SERVER m FOREIGN DATA WRAPPER tidemark_kafka OPTIONS (transport 'manual');

-- user mapping
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (bootstrap_servers 'localhost:1');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (sasl_pasword 'x');
CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (sasl_username 'a', sasl_password 'b');

-- foreign table
CREATE FOREIGN TABLE t (a int) SERVER m;
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 'no spaces');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', format 'xml');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', format 'csv');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', format 'avro');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', format 'debezium_json');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_idle_timeout '-1 s');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_idle_timeout 'never');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_when_idle 'wait');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_max_future '1 year');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', null_event_time 'drop');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_dely '4 s');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', completely_wrong 'x');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', transport 'kafka');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_delay 'soon');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_delay '-1 s');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_delay '1 month');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', watermark_delay 'infinity');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', batch_max_delay '2 h');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', batch_max_rows '0');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', batch_max_rows 'many');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', batch_max_bytes '16MiB');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', batch_max_bytes '1B');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', max_error_ratio '1.5');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', max_error_ratio 'NaN');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', on_error 'ignore');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', isolation_level 'serializable');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', group_id '');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', event_time '');

-- backpressure: nobody reads a manual stream
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', max_rate '0');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', max_rate '2147483648');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', max_rate 'fast');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', shed_above_lag '0');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', shed_above_lag '4611686018427387905');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', shed_above_lag '99999999999999999999');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', shed_above_lag '1.5');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', shed_above_lag '');
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', max_lag '5');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', max_rate '5');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't', shed_above_lag '5');
CREATE FOREIGN TABLE t (a int) SERVER m OPTIONS (topic 't');
ALTER FOREIGN TABLE t OPTIONS (ADD shed_above_lag '5');
DROP FOREIGN TABLE t;
CREATE FOREIGN TABLE t (a int) SERVER s OPTIONS (topic 't', max_rate '2147483647', shed_above_lag '4611686018427387904');
ALTER FOREIGN TABLE t OPTIONS (SET shed_above_lag '1', DROP max_rate);
DROP FOREIGN TABLE t;

-- columns, as far as one column tells
CREATE FOREIGN TABLE t (a int OPTIONS (metadata 'key_size')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (metadata 'partition', field 'x')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a timestamptz OPTIONS (metadata 'timestamp', time_unit 'ms')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a timestamptz OPTIONS (time_unit 'minutes')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (field '')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (field '/a~2')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE t (a int OPTIONS (name 'x')) SERVER m OPTIONS (topic 't');

-- everything at once that is right
CREATE FOREIGN TABLE right_one (
    a bigint OPTIONS (field '/user/a') NOT NULL,
    at timestamptz OPTIONS (field 'ts', time_unit 'ms'),
    k_part int OPTIONS (metadata 'partition'),
    k_offset bigint OPTIONS (metadata 'offset'),
    k_ts timestamptz OPTIONS (metadata 'timestamp'),
    k_key text OPTIONS (metadata 'key'),
    k_value bytea OPTIONS (metadata 'value'),
    k_headers jsonb OPTIONS (metadata 'headers'),
    k_topic text OPTIONS (metadata 'topic'),
    k_in timestamptz OPTIONS (metadata 'ingest_time'),
    k_wm timestamptz OPTIONS (metadata 'watermark')
) SERVER m OPTIONS (topic 't.a-b_c', format 'json', event_time 'at', watermark_delay '1 day 2 h',
    on_error 'fail', max_error_ratio '0.5', batch_max_rows '100', batch_max_bytes '1MB',
    batch_max_delay '5 ms', isolation_level 'read_uncommitted', group_id 'g', client_id 'c',
    watermark_idle_timeout 'infinity', watermark_when_idle 'wall_clock', watermark_max_future 'infinity', null_event_time 'keep');
SELECT count(*) FROM right_one;

-- what needs all columns
CREATE FOREIGN TABLE wrong (a int) SERVER m OPTIONS (topic 't', event_time 'at');
CREATE FOREIGN TABLE wrong (at text) SERVER m OPTIONS (topic 't', event_time 'at');
CREATE FOREIGN TABLE wrong (at timestamptz OPTIONS (metadata 'ingest_time')) SERVER m OPTIONS (topic 't', event_time 'at');
CREATE FOREIGN TABLE wrong (a bigint OPTIONS (metadata 'partition')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE wrong (a json OPTIONS (metadata 'headers')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE wrong (a int OPTIONS (metadata 'key')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE wrong (a text OPTIONS (metadata 'key'), b bytea OPTIONS (metadata 'key')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE wrong (a bigint OPTIONS (time_unit 'ms')) SERVER m OPTIONS (topic 't');
CREATE FOREIGN TABLE wrong (a int) SERVER m OPTIONS (topic 't', format 'raw');
CREATE FOREIGN TABLE wrong (a int, b int GENERATED ALWAYS AS (a + 1) STORED) SERVER m OPTIONS (topic 't');

-- a stream is read only
INSERT INTO right_one (a) VALUES (1);
UPDATE right_one SET a = 1;
DELETE FROM right_one;
TRUNCATE right_one;
COPY right_one FROM STDIN;
\.
IMPORT FOREIGN SCHEMA public FROM SERVER m INTO public;

-- SELECT on the stream is not enough
GRANT SELECT ON right_one TO regress_stream_user;
SET ROLE regress_stream_user;
SELECT count(*) FROM right_one;
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER m TO regress_stream_user;
SET ROLE regress_stream_user;
SELECT count(*) FROM right_one;
RESET ROLE;

\set VERBOSITY terse
DROP SERVER m CASCADE;
DROP SERVER s CASCADE;
REVOKE ALL ON FOREIGN DATA WRAPPER tidemark_kafka FROM regress_stream_user;
DROP ROLE regress_stream_user;
DROP EXTENSION tidemark;
