-- Devices: push addresses with the proofs of their life and death; and what became of pushes, by hour.

CREATE TABLE devices (
    tenant        int NOT NULL,
    id            text COLLATE "C" NOT NULL,          -- dev_…: the target of deliveries
    user_id       text COLLATE "C" NOT NULL,
    name          text COLLATE "C" NOT NULL,          -- the app's own stable id of this installation
    app           text COLLATE "C" NOT NULL,          -- bundle id, package or origin; '' where the app names none
    kind          text COLLATE "C" NOT NULL,          -- apns, fcm_token, fcm_fid, webpush
    platform      text NOT NULL,                      -- ios, android, web …
    address       text NOT NULL,                      -- token, installation id, or endpoint of a subscription
    digest        bytea NOT NULL,                     -- SHA-256 of the address, which may be too long for an index
    p256dh        text NOT NULL DEFAULT '',           -- keys of a subscription (RFC 8291), base64url
    auth          text NOT NULL DEFAULT '',
    account       text NOT NULL DEFAULT '',           -- whose application server key a subscription was made with
    environment   text NOT NULL DEFAULT 'production', -- production, sandbox: which of Apple's services knows the token
    flipped       boolean NOT NULL DEFAULT false,     -- the other environment has been tried since it registered
    app_version   text NOT NULL DEFAULT '',
    model         text NOT NULL DEFAULT '',
    created_at    timestamptz NOT NULL DEFAULT now(),
    registered_at timestamptz NOT NULL DEFAULT now(), -- the app last said: this address is mine
    seen_at       timestamptz NOT NULL DEFAULT now(), -- the app was last heard of
    expires_at    timestamptz,                        -- a subscription's own end
    wait_until    timestamptz,                        -- the service wants it left alone until then
    strikes       smallint NOT NULL DEFAULT 0,
    disabled_at   timestamptz,                        -- in quarantine since; a new registration ends it
    disabled_why  text,                               -- the outcome's reason
    disabled_by   text,                               -- the account that was told
    evidence      text,                               -- the service's words, and the delivery
    dead_since    timestamptz,                        -- when the service says that it died; most don't
    PRIMARY KEY (tenant, id)
);
-- An address belongs to one user at a time, whatever app it names (an app that begins to name itself would be told
-- everything twice); a device of a user has one address at a time.
CREATE UNIQUE INDEX devices_address ON devices (tenant, kind, digest);
CREATE UNIQUE INDEX devices_own ON devices (tenant, user_id, app, name);
-- What a breaker against dying tokens takes back.
CREATE INDEX devices_disabled ON devices (disabled_by, disabled_at) WHERE disabled_at IS NOT NULL;
CREATE INDEX devices_seen ON devices (seen_at);

-- Counts of pushes by hour: what services took or refused (by reason), what apps showed and people opened.
CREATE TABLE push_counts (
    tenant        int NOT NULL,
    hour          timestamptz NOT NULL,
    account       text COLLATE "C" NOT NULL,
    app           text COLLATE "C" NOT NULL,
    platform      text COLLATE "C" NOT NULL,
    app_version   text COLLATE "C" NOT NULL,
    what          text COLLATE "C" NOT NULL,          -- accepted, rejected, unknown, shown, opened, dismissed
    reason        text COLLATE "C" NOT NULL,          -- of what was rejected; else ''
    n             bigint NOT NULL,
    PRIMARY KEY (tenant, hour, account, app, platform, app_version, what, reason)
);
