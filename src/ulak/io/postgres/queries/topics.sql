-- name: subscribe
-- Make a user a member from now on; who is one already stays one since then.
INSERT INTO subscriptions (tenant, topic, user_id)
VALUES ($1::int, $2::text, $3::text)
ON CONFLICT (tenant, topic, user_id) DO UPDATE
SET added_at = CASE WHEN subscriptions.removed_at IS NULL THEN subscriptions.added_at ELSE now() END, removed_at = NULL;

-- name: unsubscribe
-- End a membership; the row stays, because notifications under way look at the past.
UPDATE subscriptions SET removed_at = now()
WHERE tenant = $1::int AND topic = $2::text AND user_id = $3::text AND removed_at IS NULL
RETURNING user_id;

-- name: subscribers
-- A page of a topic's members by id.
SELECT user_id, added_at
FROM subscriptions
WHERE tenant = $1::int AND topic = $2::text AND user_id > $3::text AND removed_at IS NULL
ORDER BY user_id
LIMIT $4::int;

-- name: subscribed
-- Of (tenant, user, topic): those where the user is a member now. For sockets that want to listen, many at once.
SELECT s.tenant, s.user_id, s.topic
FROM unnest($1::int[], $2::text[], $3::text[]) AS q (tenant, user_id, topic)
JOIN subscriptions s ON s.tenant = q.tenant AND s.topic = q.topic AND s.user_id = q.user_id
WHERE s.removed_at IS NULL;
