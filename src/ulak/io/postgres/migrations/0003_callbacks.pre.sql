-- What vendors say later: callbacks as they came, what was applied already, and what follows for addresses.

-- Verified callbacks, stored before they are answered. Deleting the row is applying it: whatever its events change
-- stands or falls with the deletion.
CREATE TABLE callbacks (
    id            bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
    tenant        int NOT NULL,
    provider      text NOT NULL,
    account       text NOT NULL,
    received_at   timestamptz NOT NULL DEFAULT now(),
    ready_at      timestamptz NOT NULL DEFAULT now(), -- not before; also the end of a lease
    boot          int NOT NULL DEFAULT 0,           -- who may apply it until then; 0: nobody
    tries         smallint NOT NULL DEFAULT 0,      -- how often it was taken; from the second time on it is a suspect
    headers       text NOT NULL,                    -- JSON object: those that its reader needs
    body          bytea NOT NULL                    -- as it came
) WITH (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.01, autovacuum_vacuum_threshold = 1000,
        autovacuum_vacuum_cost_delay = 0);
CREATE INDEX callbacks_ready ON callbacks (ready_at);

-- Callbacks that could not be applied, or hold events of a kind that this release does not know. Forgotten after 30 days.
CREATE TABLE dead_callbacks (
    id            bigint PRIMARY KEY,
    tenant        int NOT NULL,
    provider      text NOT NULL,
    account       text NOT NULL,
    received_at   timestamptz NOT NULL,
    headers       text NOT NULL,
    body          bytea NOT NULL,
    reason        text NOT NULL,                    -- unknown_event, unreadable, crashed, refused
    at            timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dead_callbacks_age ON dead_callbacks (at);

-- Events that were applied: vendors send one several times. Forgotten after 30 days.
CREATE TABLE callback_events (
    tenant        int NOT NULL,
    account       text COLLATE "C" NOT NULL,
    event         bytea NOT NULL,                   -- hash of the vendor's id of the event
    at            timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, account, event)
);
CREATE INDEX callback_events_age ON callback_events USING brin (at);

-- What is known of an address: when something last arrived there, and its latest soft bounces.
CREATE TABLE reachability (
    tenant        int NOT NULL,
    channel       text COLLATE "C" NOT NULL,
    address       text COLLATE "C" NOT NULL,        -- as in suppressions
    delivered_at  timestamptz,
    soft          timestamptz[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (tenant, channel, address)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

-- How many events of each kind an account had, hour by hour: the base of its score and of alarms.
CREATE TABLE account_events (
    tenant        int NOT NULL,
    account       text COLLATE "C" NOT NULL,
    class         text COLLATE "C" NOT NULL,        -- of the delivery; '' where it is not known
    hour          timestamptz NOT NULL,             -- of the event, not of its arrival here
    kind          text COLLATE "C" NOT NULL,        -- core/receipt.ReceiptKind, or listed: refused by the vendor's own list
    n             bigint NOT NULL,
    PRIMARY KEY (tenant, account, class, hour, kind)
) WITH (fillfactor = 70);

-- Scopes: all; not:critical; class:NAME; or the name of a category (core/suppression.py).
ALTER TABLE suppressions ADD COLUMN source text;          -- account whose event or reply caused it; null: somebody's wish
ALTER TABLE suppressions ADD COLUMN event text;           -- the vendor's id of that event
ALTER TABLE suppressions ADD COLUMN event_at timestamptz; -- when it happened, by the vendor's word

ALTER TABLE deliveries ADD COLUMN opened_at timestamptz;
