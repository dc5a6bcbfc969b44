-- The reference for sessions, written to be obviously right: a row begins a
-- session when it comes more than the gap after the row before it; the number
-- of beginnings so far numbers the sessions of a key.
CREATE FUNCTION reference_sessions(source text, key text, at text, x text, gap interval)
RETURNS TABLE (key_value text, session_start timestamptz, session_end timestamptz, n bigint, total numeric) LANGUAGE plpgsql AS
$$
BEGIN
    RETURN QUERY EXECUTE format($q$
        SELECT k, min(t), max(t) + $1, count(*), sum(x)
          FROM (SELECT k, t, x, count(*) FILTER (WHERE begins) OVER (PARTITION BY k ORDER BY t ROWS UNBOUNDED PRECEDING) AS number
                  FROM (SELECT k, t, x, t - lag(t) OVER (PARTITION BY k ORDER BY t) <= $1 IS NOT TRUE AS begins
                          FROM (SELECT (%2$s)::text AS k, (%3$s)::timestamptz AS t, (%4$s)::numeric AS x FROM %1$s) r) b) s
         GROUP BY k, t IS NULL, CASE WHEN t IS NOT NULL THEN number END
    $q$, source, key, at, x) USING gap;
END
$$;
