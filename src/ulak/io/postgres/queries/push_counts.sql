-- name: add
-- Counts of this hour; in order, so that two nodes can't deadlock.
INSERT INTO push_counts AS c (tenant, hour, account, app, platform, app_version, what, reason, n)
SELECT tenant, date_trunc('hour', now(), 'UTC'), account, app, platform, app_version, what, reason, sum(n)
FROM unnest($1::int[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[])
     AS q (tenant, account, app, platform, app_version, what, reason, n)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8
ON CONFLICT (tenant, hour, account, app, platform, app_version, what, reason) DO UPDATE SET n = c.n + excluded.n;

-- name: sums
-- Sums of a tenant's counts over some hours, told apart by the columns that $4 names; $5 groups at most.
WITH chosen AS (
    SELECT CASE WHEN 'account' = ANY ($4::text[]) THEN account END AS account,
           CASE WHEN 'app' = ANY ($4) THEN app END AS app,
           CASE WHEN 'platform' = ANY ($4) THEN platform END AS platform,
           CASE WHEN 'app_version' = ANY ($4) THEN app_version END AS app_version,
           CASE WHEN 'day' = ANY ($4) THEN date_trunc('day', hour, 'UTC') END AS day,
           CASE WHEN 'hour' = ANY ($4) THEN hour END AS hour,
           what, reason, n
    FROM push_counts WHERE tenant = $1::int AND hour >= $2::timestamptz AND hour < $3::timestamptz
), kinds AS (
    SELECT account, app, platform, app_version, day, hour, what, reason, sum(n)::bigint AS n
    FROM chosen GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
)
SELECT account, app, platform, app_version, day, hour,
       array_agg(what) FILTER (WHERE what <> 'rejected') AS others,
       array_agg(n) FILTER (WHERE what <> 'rejected') AS counts,
       array_agg(reason ORDER BY n DESC, reason) FILTER (WHERE what = 'rejected') AS reasons,
       array_agg(n ORDER BY n DESC, reason) FILTER (WHERE what = 'rejected') AS refused
FROM kinds GROUP BY 1, 2, 3, 4, 5, 6
ORDER BY hour, day, account, app, platform, app_version
LIMIT $5::int;

-- name: forget
-- Hours that nobody asks for any more; tenant by tenant, as the index has them.
DELETE FROM push_counts c USING tenants t WHERE c.tenant = t.tenant AND c.hour < now() - interval '400 days';
