-- name: server
-- Version, what durability hangs on, replication, clock, connections; how many sessions hide from this user.
SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS version_text,
       current_setting('fsync') = 'on' AS fsync, current_setting('full_page_writes') = 'on' AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') <> '' AS synchronous,
       pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS read_only,
       (SELECT count(*)::int FROM pg_stat_replication) AS standbys,
       (SELECT count(*)::int FROM pg_stat_activity WHERE datname IS NOT NULL) AS connections,
       current_setting('max_connections')::int AS max_connections,
       (SELECT age(datfrozenxid) FROM pg_database WHERE datname = current_database()) AS xids,
       (SELECT count(*)::int FROM pg_stat_activity
        WHERE datname = current_database() AND usename <> current_user
          AND NOT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')) AS hidden,
       extract(epoch FROM clock_timestamp())::float8 AS clock;

-- name: holders
-- What keeps deleted rows from being cleaned up: transactions, prepared transactions, replication slots.
SELECT 'A transaction of ' || coalesce(nullif(application_name, ''), 'a nameless program') || ' (pid ' || pid || ', '
       || coalesce(state, 'unknown state') || ')' AS what,
       extract(epoch FROM now() - xact_start)::float8 AS seconds, coalesce(age(backend_xmin), 0) AS xids
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND xact_start IS NOT NULL AND datname = current_database()
  AND backend_type = 'client backend'
UNION ALL
SELECT 'The prepared transaction ' || gid, extract(epoch FROM now() - prepared)::float8, age(transaction)
FROM pg_prepared_xacts WHERE database = current_database()
UNION ALL
SELECT 'The replication slot ' || slot_name, 0, age(xmin)
FROM pg_replication_slots WHERE xmin IS NOT NULL;

-- name: tables
-- Rows and bytes of the tables that work flows through.
SELECT relname AS name, n_live_tup AS live, n_dead_tup AS dead, pg_total_relation_size(relid) AS size
FROM pg_stat_user_tables
WHERE schemaname = current_schema() AND relname IN ('ready', 'timers', 'leases', 'plan_work', 'inboxes', 'deliveries')
ORDER BY relname;

-- name: schema_there
-- Whether any migration was ever applied.
SELECT to_regclass('migrations') IS NOT NULL;

-- name: migrations
-- What was applied.
SELECT number, phase, checksum FROM migrations;

-- name: ready
-- What is ready, by lane and bulkhead: how many rows (no further than 100,000) and how long the oldest head waits.
-- The places are found by hopping over the primary key.
WITH RECURSIVE hop AS (
    (SELECT lane, bulkhead FROM ready ORDER BY lane, bulkhead LIMIT 1)
    UNION ALL
    SELECT n.lane, n.bulkhead FROM hop, LATERAL (
        SELECT lane, bulkhead FROM ready r WHERE (r.lane, r.bulkhead) > (hop.lane, hop.bulkhead)
        ORDER BY lane, bulkhead LIMIT 1) AS n
)
SELECT hop.bulkhead AS place,
       (SELECT count(*)::int FROM (SELECT 1 FROM ready r WHERE r.lane = hop.lane AND r.bulkhead = hop.bulkhead
                                   LIMIT 100000) AS counted) AS rows,
       coalesce((
           SELECT max(extract(epoch FROM now() - coalesce(o.retry_at, d.due_at, d.planned_at)))
           FROM generate_series(0, $1::int - 1) AS b (bucket)
           CROSS JOIN LATERAL (
               SELECT tenant, delivery, n FROM ready r
               WHERE r.lane = hop.lane AND r.bulkhead = hop.bulkhead AND r.bucket = b.bucket ORDER BY seq LIMIT 1) AS head
           JOIN deliveries d ON d.tenant = head.tenant AND d.id = head.delivery
           LEFT JOIN outcomes o ON o.tenant = head.tenant AND o.delivery = head.delivery AND o.n = head.n - 1
           WHERE d.reason IS DISTINCT FROM 'redriven'), 0)::float8 AS overdue
FROM hop;

-- name: timers
-- What is timed, by bulkhead: how many rows (no further than 100,000) and how long the first is overdue.
WITH RECURSIVE hop AS (
    (SELECT bulkhead, due_at FROM timers ORDER BY bulkhead, due_at LIMIT 1)
    UNION ALL
    SELECT n.bulkhead, n.due_at FROM hop, LATERAL (
        SELECT bulkhead, due_at FROM timers t WHERE t.bulkhead > hop.bulkhead ORDER BY bulkhead, due_at LIMIT 1) AS n
)
SELECT bulkhead AS place,
       (SELECT count(*)::int FROM (SELECT 1 FROM timers t WHERE t.bulkhead = hop.bulkhead LIMIT 100000) AS counted) AS rows,
       greatest(0, extract(epoch FROM now() - due_at))::float8 AS overdue
FROM hop;

-- name: plans
-- What is to be planned, by lane; a piece under a planner's lease is due at the lease's end.
SELECT 'lane ' || lane AS place, count(*)::int AS rows,
       greatest(0, extract(epoch FROM now() - min(ready_at)))::float8 AS overdue
FROM (SELECT lane, ready_at FROM plan_work ORDER BY lane, ready_at LIMIT 100000) AS counted
GROUP BY lane ORDER BY lane;

-- name: leases
-- Batches in flight, and those whose holder is gone.
SELECT count(*)::int AS leases, count(*) FILTER (WHERE expires_at < now())::int AS expired,
       coalesce(extract(epoch FROM now() - min(expires_at) FILTER (WHERE expires_at < now())), 0)::float8 AS expired_for
FROM leases;

-- name: dead
-- What was given up, by reason.
SELECT reason, count(*)::int AS rows FROM dead GROUP BY reason ORDER BY reason;

-- name: dead_plans
-- Plan work that was put aside.
SELECT count(*)::int FROM dead_plans;

-- name: dead_callbacks
-- Callbacks of vendors that were put aside, by reason.
SELECT reason, count(*)::int AS rows FROM dead_callbacks GROUP BY reason ORDER BY reason;

-- name: callbacks_late
-- How long the oldest callback has been due, in seconds.
SELECT coalesce(extract(epoch FROM now() - min(ready_at)), 0)::float8 FROM callbacks WHERE ready_at < now();

-- name: nodes
-- Nodes that beat in the last seconds.
SELECT boot, node AS name, roles FROM boots
WHERE stopped_at IS NULL AND seen_at > now() - $1::float8 * interval '1 second' ORDER BY node, boot;
