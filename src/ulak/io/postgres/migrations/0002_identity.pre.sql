-- Who is believed: the log of revoked tokens, and the installation's own secrets.

-- Append-only. Every node reads what it does not know yet at its heartbeat, so a revocation holds everywhere
-- within a second. `id` is the number of `changes` that the same statement raised: its row lock lets ids commit
-- in order and without holes, so "all after the last one I know" never skips a row.
CREATE TABLE revocations (
    id          bigint PRIMARY KEY,
    tenant      int NOT NULL,
    user_id     text COLLATE "C" NOT NULL,
    token_id    text COLLATE "C",                   -- the `jti` of one token; null: every token until now
    not_before  timestamptz NOT NULL,               -- tokens issued up to here are revoked
    at          timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL                -- from here on every token that it could concern has ended
);
CREATE INDEX revocations_age ON revocations (expires_at);

-- Secrets that all nodes share. The newest of a purpose signs; a retired one still verifies what it signed.
CREATE TABLE installation_secrets (
    purpose     text COLLATE "C" NOT NULL,          -- ticket: resume tickets; link: links in messages, never deleted
    kid         int NOT NULL,
    secret      bytea NOT NULL CHECK (length(secret) >= 32),
    created_at  timestamptz NOT NULL DEFAULT now(),
    retired_at  timestamptz,
    PRIMARY KEY (purpose, kid)
);

INSERT INTO changes (name) VALUES ('revocations'), ('secrets');
