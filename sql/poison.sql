-- Proves that messages that are bad in every way that decoding and storing know become dead letters beside good neighbours, and once mended are as if they had never been bad.
\set ECHO none
\getenv abs_srcdir PG_ABS_SRCDIR
\set tools :abs_srcdir '/test/ingest_tools.sql'
\i :tools
\set SHOW_CONTEXT never
\set ECHO all
-- what is checked while decoding: types, a domain, a domain whose check raises what it likes
CREATE FUNCTION strict(v int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    CASE v WHEN 1 THEN RAISE 'not one'; WHEN 2 THEN RAISE 'not two' USING ERRCODE = 'ZZ001'; WHEN 3 THEN RETURN 1 / (v - 3) > 0; WHEN 4 THEN RETURN v = ('x' || v)::int;
    WHEN 5 THEN ASSERT false, 'not five'; RETURN true; ELSE RETURN v <> 6; END CASE;
END $$;
CREATE DOMAIN strange AS int CHECK (strict(value));
CREATE DOMAIN short AS text NOT NULL DEFAULT '' CHECK (length(value) < 5);
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE FUNCTION make_stream(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE FOREIGN TABLE %I (id int NOT NULL, k int, x bigint, at timestamptz, part text, parent int, label varchar, span int4range, small smallint, cents numeric, code uuid, fine text, strange strange,
        tiny smallint, big bigint, few numeric(5,2), real real, yes boolean,
        day date, long interval, address inet, uid uuid, bits bit(4), raw bytea, doc jsonb, list int[], mood mood, three char(3), point point, hour time, ms timestamptz OPTIONS (time_unit ''ms''), words tsvector, extent int4range,
        p int OPTIONS (metadata ''partition''), o bigint OPTIONS (metadata ''offset''), wm timestamptz OPTIONS (metadata ''watermark''))
        SERVER m OPTIONS (topic %1$L, event_time ''at'', watermark_delay ''2 s'', watermark_max_future ''infinity'', max_error_ratio ''1'')', name);
END $$;
-- and while storing: in the table, its partitions, their constraints and triggers
CREATE FUNCTION guard() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    CASE new.label WHEN 'raise' THEN RAISE 'no %', new.label; WHEN 'custom' THEN RAISE 'no %', new.label USING ERRCODE = 'ZZ002'; WHEN 'undefined' THEN PERFORM no_such_function();
    WHEN 'late' THEN IF tg_when = 'AFTER' THEN RAISE 'no %', new.label USING ERRCODE = 'ZZ003'; END IF; WHEN 'deep' THEN PERFORM 1 / 0; ELSE END CASE;
    RETURN new;
END $$;
CREATE FUNCTION make_table(name text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE format('CREATE TABLE %1$I (id int, k int, x bigint, at timestamptz, part text, parent int, label varchar(12), span int4range, small smallint NOT NULL, cents numeric(3,1), code uuid, strange int, fine short,
        ratio bigint GENERATED ALWAYS AS (100 / (x - 13)) STORED, p int, o bigint, wm timestamptz) PARTITION BY LIST (part)', name);
    EXECUTE format('CREATE TABLE %I PARTITION OF %I FOR VALUES IN (''a'')', name || '_a', name);
    EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY)', name || '_parent');
    EXECUTE format('INSERT INTO %I VALUES (1)', name || '_parent');
    EXECUTE format('ALTER TABLE %I ADD CONSTRAINT sane CHECK (k <> 99), ADD CONSTRAINT known FOREIGN KEY (parent) REFERENCES %I, ADD CONSTRAINT known_later FOREIGN KEY (small) REFERENCES %2$I DEFERRABLE INITIALLY DEFERRED', name, name || '_parent');
    EXECUTE format('ALTER TABLE %1$I_a ADD CONSTRAINT %1$s_once UNIQUE (code), ADD CONSTRAINT %1$s_apart EXCLUDE USING gist (span WITH &&)', name);
    EXECUTE format('CREATE TRIGGER b BEFORE INSERT ON %I FOR EACH ROW EXECUTE FUNCTION guard()', name);
    EXECUTE format('CREATE TRIGGER a AFTER INSERT ON %I FOR EACH ROW EXECUTE FUNCTION guard()', name);
END $$;
-- what is made good in the end: by a change of the stream, of the table, or never
CREATE TABLE poison (no int GENERATED ALWAYS AS IDENTITY, mended text, members text, message text);
INSERT INTO poison (mended, message) VALUES (NULL, '{bad'), (NULL, ''), (NULL, '[]'), (NULL, '"x"'), (NULL, '{"id":1,}'), (NULL, '{"id":1}x'), (NULL, repeat('[', 20000)), (NULL, '{"id":1,"doc":' || repeat('[', 20000) || repeat(']', 20000) || '}'),
    (NULL, '{"id":1,"part":"\ud800"}'), (NULL, '{"id":1,"part":"\udc00\ud800"}'), (NULL, '{"id":1,"part":"\x"}'), (NULL, '{"id":1,"part":"' || chr(1) || '"}');
INSERT INTO poison (mended, members) VALUES ('stream', '"tiny":40000'), ('stream', '"tiny":1.5'), ('stream', '"tiny":true'), ('stream', '"big":9223372036854775808'), ('stream', '"few":1000'), ('stream', '"real":1e400'), ('stream', '"real":"many"'),
    ('stream', '"yes":"perhaps"'), ('stream', '"day":"2026-02-30"'), ('stream', '"day":"x"'), ('stream', '"day":"99999999-01-01"'), ('stream', '"long":"1 fortnight ago ago"'), ('stream', '"long":"999999999 years"'), ('stream', '"address":"300.1.1.1"'), ('stream', '"uid":"1-2"'),
    ('stream', '"bits":"10101"'), ('stream', '"bits":"2"'), ('stream', '"raw":"\\xzz"'), ('stream', '"raw":"\\1"'), ('stream', '"doc":{"a":"\u0000"}'), ('stream', '"list":["x"]'), ('stream', '"list":{"a":1}'), ('stream', '"list":[[1],[2,3]]'), ('stream', '"mood":"fair"'),
    ('function', '"strange":1'), ('function', '"strange":2'), ('function', '"strange":3'), ('function', '"strange":4'), ('function', '"strange":5'), ('function', '"strange":6'), ('stream', '"three":"four"'), ('stream', '"point":"(1,"'), ('stream', '"hour":"25:00"'), ('stream', '"ms":1e30'),
    ('stream', '"words":"''a"'), (NULL, '"id":null'), (NULL, '"at":"2026-13-01"'), (NULL, '"at":null'), (NULL, '"at":"infinity"'), ('stream', '"extent":"[2,1]"'), ('stream', '"extent":"x"'), ('stream', '"words":"a:0"'),
    ('table', '"k":99'), ('table', '"parent":7'), ('table', '"small":8'), ('table', '"small":null'), ('table', '"label":"much too long a label"'), ('table', '"cents":100'), ('table', '"fine":"much too long"'), ('table', '"fine":null'), ('table', '"code":"00000000-0000-0000-0000-000000000001"'),
    ('table', '"span":"[5,8]"'), ('table', '"part":"b"'), ('table', '"part":null'), ('table', '"label":"raise"'), ('table', '"label":"custom"'), ('table', '"label":"undefined"'), ('table', '"label":"late"'), ('table', '"label":"deep"'), ('table', '"x":13');
-- a good one before, between and after all; good ones alone move the watermark, bad ones are a little or much behind
CREATE FUNCTION message(n int, at timestamptz, members text) RETURNS text LANGUAGE sql AS
$$ SELECT (jsonb_build_object('id', n, 'k', n % 3, 'x', n, 'at', at, 'part', 'a', 'small', 1, 'parent', 1, 'fine', 'ok') || coalesce(replace('{' || members || '}', '\u0000', '?')::jsonb, '{}'))::text $$;
CREATE TABLE log AS
SELECT 2 * no - 1 AS o, mended, coalesce(p.message, replace(message(no + 1000, timestamptz '2026-01-01Z' + no * interval '1 s' - (no % 7) * interval '3 s', members), '?', '\u0000')) AS message FROM poison p
UNION ALL
SELECT 2 * i, 'good', message(i + 100, timestamptz '2026-01-01 00:00:01Z' + i * interval '1 s', CASE i WHEN 0 THEN '"code":"00000000-0000-0000-0000-000000000001","span":"[1,6]"' END) FROM generate_series(0, (SELECT max(no) FROM poison)) i;
CREATE FUNCTION make_views(name text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    source text;
BEGIN
    FOREACH source IN ARRAY ARRAY[name, name || '_t'] LOOP
        EXECUTE format('CREATE MATERIALIZED VIEW %s WITH (tidemark.continuous) AS SELECT k, count(*), sum(x), min(id), max(id) FROM %I GROUP BY k', source || '_all', source);
        EXECUTE format('CREATE MATERIALIZED VIEW %s WITH (tidemark.continuous, tidemark.allowed_lateness = ''3 s'', tidemark.late = ''table'') AS SELECT window_start, k, count(*), sum(id) FROM %I, tidemark.hop(at, ''5 s'', ''10 s'') GROUP BY 1, 2', source || '_hop', source);
        EXECUTE format('CREATE MATERIALIZED VIEW %s WITH (tidemark.continuous, tidemark.allowed_lateness = ''3 s'', tidemark.late = ''table'') AS SELECT k, a, count(*), sum(id)
            FROM (SELECT k, id, tidemark.session_start(at, ''4 s'') OVER (PARTITION BY k ORDER BY at) AS a FROM %I) s GROUP BY 1, 2', source || '_session', source);
        EXECUTE format('CREATE MATERIALIZED VIEW %s WITH (tidemark.continuous, tidemark.emit = ''final'', tidemark.allowed_lateness = ''3 s'', tidemark.late = ''table'') AS SELECT window_start, count(*), sum(id) FROM %I, tidemark.tumble(at, ''10 s'') GROUP BY 1', source || '_final', source);
    END LOOP;
END $$;
CREATE FUNCTION feed(name text, size int) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    FOR i IN 0 .. (SELECT max(o) FROM log) BY size LOOP
        PERFORM tidemark.inject(name::regclass, (SELECT array_agg(message ORDER BY o) FROM log WHERE o BETWEEN i AND i + size - 1));
    END LOOP;
END $$;
CREATE FUNCTION begin_all(name text) RETURNS void LANGUAGE plpgsql SET client_min_messages = warning AS $$
BEGIN
    PERFORM make_stream(name), make_table(name || '_t');
    PERFORM tidemark.start_ingest(name::regclass, into_table => (name || '_t')::regclass);
    PERFORM make_views(name);
END $$;
CREATE FUNCTION wrong() RETURNS TABLE (view text, difference text) LANGUAGE sql AS
$$ SELECT v.view::text, d::text FROM tidemark.views v, tidemark.verify(v.view) d UNION ALL SELECT v.view::text, v.state || ': ' || v.reason FROM tidemark.views v WHERE v.state <> 'live' ORDER BY 1 $$;
-- the same batch by batch, in whatever sizes
SELECT count(*) FROM log;
SELECT begin_all('whole'), begin_all('ones'), begin_all('sevens');
SELECT feed('whole', 1000), feed('ones', 1), feed('sevens', 7);
CREATE VIEW letters AS SELECT stream, kafka_offset AS o, stage, sqlstate, watermark FROM tidemark.dead_letters;
SELECT o, mended, stage, sqlstate, left(coalesce(members, message), 30) AS message FROM letters LEFT JOIN poison ON o = 2 * no - 1 WHERE stream = 'whole'::regclass ORDER BY 1;
SELECT s, count(*) AS differing FROM unnest('{ones,sevens}'::regclass[]) s, LATERAL (
    (SELECT o, stage, sqlstate, watermark FROM letters WHERE stream = s EXCEPT ALL SELECT o, stage, sqlstate, watermark FROM letters WHERE stream = 'whole'::regclass)
    UNION ALL (SELECT o, stage, sqlstate, watermark FROM letters WHERE stream = 'whole'::regclass EXCEPT ALL SELECT o, stage, sqlstate, watermark FROM letters WHERE stream = s)) d GROUP BY s;
SELECT o, mended FROM log WHERE mended = 'good' AND o NOT IN (SELECT o FROM whole_t) OR mended IS DISTINCT FROM 'good' AND o NOT IN (SELECT kafka_offset FROM tidemark.dead_letters);
SELECT stream, rows, dead_letters, state FROM tidemark.ingests ORDER BY stream::text;
SELECT * FROM wrong();
-- mended: the stream's columns and a function
CREATE FUNCTION mend(name text, what text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF what = 'stream' THEN
        EXECUTE format('ALTER FOREIGN TABLE %I ' || (SELECT string_agg('DROP COLUMN ' || a, ', ') FROM unnest('{tiny,big,few,real,yes,day,long,address,uid,bits,raw,doc,list,mood,three,point,hour,ms,words,extent}'::name[]) a), name);
    ELSE
        EXECUTE format('INSERT INTO %I_t_parent VALUES (7), (8)', name);
        EXECUTE format('CREATE TABLE %1$I_t_rest PARTITION OF %1$I_t DEFAULT', name);
        EXECUTE format('ALTER TABLE %1$I_t_a DROP CONSTRAINT %1$s_t_once, DROP CONSTRAINT %1$s_t_apart', name);
        EXECUTE format('ALTER TABLE %I_t DROP CONSTRAINT sane, ALTER label TYPE text, ALTER cents TYPE numeric, ALTER fine TYPE text, ALTER small DROP NOT NULL, DROP ratio, DISABLE TRIGGER USER', name);
    END IF;
END $$;
SELECT mend(s, 'stream') FROM unnest('{whole,ones,sevens}'::text[]) s;
SELECT s, r.* FROM unnest('{whole,ones,sevens}'::text[]) s, tidemark.replay_dead_letters(s::regclass) r;
CREATE OR REPLACE FUNCTION strict(v int) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT true';
SELECT s, r.* FROM unnest('{whole,ones,sevens}'::text[]) s, tidemark.replay_dead_letters(s::regclass) r;
SELECT DISTINCT d.stream, mended, stage, sqlstate FROM letters d LEFT JOIN log USING (o) WHERE mended IN ('stream', 'function');
SELECT * FROM wrong();
-- and the table
SELECT mend(s, 'table') FROM unnest('{whole,ones,sevens}'::text[]) s;
SELECT s, r.* FROM unnest('{whole,ones,sevens}'::text[]) s, tidemark.replay_dead_letters(s::regclass) r;
SELECT stream, count(*), string_agg(DISTINCT sqlstate, ' ') FROM letters GROUP BY 1 ORDER BY stream::text;
SELECT * FROM wrong();
-- a stream and a table that were right from the beginning
SELECT make_stream('clean'), make_table('clean_t'), mend('clean', 'stream'), mend('clean', 'table');
SET client_min_messages = warning;
SELECT tidemark.start_ingest('clean', into_table => 'clean_t');
RESET client_min_messages;
SELECT make_views('clean');
SELECT feed('clean', 5);
CREATE FUNCTION unlike(a text, b text, columns text DEFAULT '*') RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    result bigint;
BEGIN
    EXECUTE format('SELECT count(*) FROM ((SELECT %1$s FROM %2$s EXCEPT ALL SELECT %1$s FROM %3$s) UNION ALL (SELECT %1$s FROM %3$s EXCEPT ALL SELECT %1$s FROM %2$s)) d', columns, a, b) INTO result;
    RETURN result;
END $$;
CREATE VIEW late AS SELECT view::text AS view, window_start, kafka_offset, watermark, row->>'id' AS id FROM tidemark.late_rows;
SELECT s, unlike(s || '_t', 'clean_t', 'id, k, x, at, part, parent, label, span, small, cents, code, strange, fine, p, o, wm') AS rows,
       sum(unlike(s || v, 'clean' || v)) AS views, count(*) AS of, unlike(format('(SELECT replace(view, %L, %L), window_start, kafka_offset, watermark, id FROM late WHERE view LIKE %L AND view NOT LIKE %L) a', s, 'clean', s || '\_%', '%final'),
       '(SELECT view, window_start, kafka_offset, watermark, id FROM late WHERE view LIKE ''clean\_%'' AND view NOT LIKE ''%final'') a') AS late
  FROM unnest('{whole,ones,sevens}'::text[]) s, unnest('{_all,_hop,_session,_t_all,_t_hop,_t_session}'::text[]) v GROUP BY s ORDER BY s;
SELECT count(*) > 100 AS some_late FROM late;
SELECT * FROM wrong();
SELECT s, r.* FROM unnest('{whole,ones,sevens}'::text[]) s, tidemark.replay_dead_letters(s::regclass) r;
\set ECHO none
SET client_min_messages = warning;
DROP SCHEMA ing CASCADE;
SELECT * FROM rest();
DROP FUNCTION rest();
DROP EXTENSION tidemark CASCADE;
