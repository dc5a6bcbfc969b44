-- Loads json_documents.txt and says, by means of the types json and jsonb
-- alone, what the decoder must make of each message.
-- Run it with psql in this directory; encoding UTF8.
CREATE SCHEMA corpus;
CREATE TABLE corpus.line (no bigint GENERATED ALWAYS AS IDENTITY, line text);
\copy corpus.line (line) FROM 'json_documents.txt' WITH (FORMAT csv, DELIMITER E'\x01', QUOTE E'\x02')

CREATE FUNCTION corpus.message(line text) RETURNS bytea
LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE
        WHEN line = '\empty' THEN ''::bytea
        WHEN line LIKE '\\keys %' THEN
            (SELECT convert_to('{' || string_agg(format('"k%s":%s', i, i), ',' ORDER BY i) || '}', 'UTF8')
             FROM generate_series(1, substr(line, 7)::int) i)
        WHEN line LIKE '\\expand %' THEN
            (SELECT string_agg(decode(repeat(m[2], m[1]::int), 'escape'), ''::bytea ORDER BY i)
             FROM regexp_matches(substr(line, 9), 'repeat\((\d+),"(.*?)"\)(?: \+ |$)', 'g')
                  WITH ORDINALITY AS r(m, i))
        ELSE decode(line, 'escape')
    END
$$;

CREATE TABLE corpus.document AS
    SELECT no, m[1] AS verdict, corpus.message(m[2]) AS message
    FROM corpus.line, regexp_match(line, '^(?:(\\bad|\\null) )?(.*)$') AS m
    WHERE line NOT LIKE '#%';

-- What a row of the stream looks like; see json_check.sql for its options.
CREATE TYPE corpus.row AS (
    a bigint, b text, t timestamptz, e timestamptz, n jsonb,
    p bigint, l0 bigint, l2 text, m bigint, x bigint);

-- A member for a type that takes no objects and arrays.
CREATE FUNCTION corpus.scalar(j json) RETURNS text
LANGUAGE plpgsql STRICT AS $$
BEGIN
    IF json_typeof(j) IN ('object', 'array') THEN
        RAISE EXCEPTION 'object or array';
    END IF;
    RETURN j #>> '{}';
END $$;

CREATE FUNCTION corpus.element(j json, i int) RETURNS json
LANGUAGE sql AS $$
    SELECT CASE json_typeof(j) WHEN 'array' THEN j -> i ELSE j -> i::text END
$$;

-- Without the limit of a string's depth: brackets outside of strings matter
-- only in the long messages, which have none inside.
CREATE FUNCTION corpus.too_deep(message text) RETURNS boolean
LANGUAGE sql AS $$
    SELECT length(message) - length(translate(message, '[{', '')) > 1000
$$;

CREATE FUNCTION corpus.decode(message bytea) RETURNS corpus.row
LANGUAGE plpgsql
SET TimeZone = 'UTC' SET DateStyle = 'ISO, MDY' SET IntervalStyle = 'postgres' AS $$
DECLARE
    j json;
    r corpus.row;
BEGIN
    IF corpus.too_deep(convert_from(message, 'UTF8')) THEN
        RAISE EXCEPTION 'too deep';
    END IF;
    j := convert_from(message, 'UTF8')::json;
    IF json_typeof(j) <> 'object' THEN
        RAISE EXCEPTION 'no object';
    END IF;
    r.a := corpus.scalar(j -> 'a');
    r.b := j ->> 'b';
    IF json_typeof(j -> 't') = 'number' THEN
        RAISE EXCEPTION 'no time_unit';
    END IF;
    r.t := corpus.scalar(j -> 't');
    IF json_typeof(j -> 'e') = 'number' THEN
        r.e := timestamptz 'epoch' + round((j ->> 'e')::numeric * 1000)::bigint * interval '1 us';
    ELSE
        r.e := corpus.scalar(j -> 'e');
    END IF;
    IF json_typeof(j -> 'n') <> 'null' THEN
        r.n := (j -> 'n')::text;
    END IF;
    IF json_typeof(j -> 'p') = 'object' THEN
        r.p := corpus.scalar(j -> 'p' -> 'q');
    END IF;
    IF json_typeof(j -> 'l') IN ('object', 'array') THEN
        r.l0 := corpus.scalar(corpus.element(j -> 'l', 0));
        r.l2 := corpus.element(j -> 'l', 2) #>> '{}';
    END IF;
    IF json_typeof(j -> 'm~n') = 'object' THEN
        r.m := corpus.scalar(j -> 'm~n' -> 'o/p');
    END IF;
    r.x := corpus.scalar(j -> '');
    RETURN r;
END $$;

-- The verdict: NULL for a bad message, else the row as text.
CREATE FUNCTION corpus.expect(message bytea) RETURNS text
LANGUAGE plpgsql AS $$
BEGIN
    RETURN corpus.decode(message)::text;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$;

CREATE TABLE corpus.expected AS
    SELECT no, message,
           CASE WHEN verdict IS NULL THEN corpus.expect(message)
                WHEN verdict = '\null' THEN '(,,,,,,,,,)'
           END AS result
    FROM corpus.document;
