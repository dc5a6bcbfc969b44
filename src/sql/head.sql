-- tidemark: install script, made by `make` from src/sql/*.sql
\echo Use "CREATE EXTENSION tidemark" to load this file. \quit

-- Nothing in this script may be found in a schema that others can write.
SET LOCAL search_path TO pg_catalog, pg_temp;

-- Schemas of our own, made here: a schema that somebody else made beforehand
-- stops the installation instead of being adopted.
CREATE SCHEMA tidemark;
COMMENT ON SCHEMA tidemark IS 'streaming SQL: functions and monitoring views of tidemark';
CREATE SCHEMA tidemark_state;
COMMENT ON SCHEMA tidemark_state IS 'tidemark internals: catalogs, and the objects behind continuous views';
GRANT USAGE ON SCHEMA tidemark, tidemark_state TO PUBLIC;

