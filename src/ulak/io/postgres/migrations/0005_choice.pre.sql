-- The user's choice by mail: who said yes or no, when and from where; and what a link may take back.

-- Append-only: one row for each choice that changed something, written in the transaction of the change.
CREATE TABLE consents (
    tenant      int NOT NULL,
    user_id     text COLLATE "C" NOT NULL,
    id          bigint GENERATED ALWAYS AS IDENTITY,
    category    text COLLATE "C" NOT NULL,          -- '*': every one; of a vendor's word also a scope as in suppressions
    channel     text COLLATE "C" NOT NULL,
    allowed     boolean,                            -- null: the choice was taken back, what is wider decides again
    source      text NOT NULL,                      -- api, me, link, vendor
    evidence    text,                               -- prefix of the API key, id of the delivery, or account and event
    agent       text,                               -- what the caller's program called itself, at most 200 characters
    at          timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant, user_id, id)
);

-- What a "no" by link stands in the place of, so that the same link can take it back and widens nothing.
ALTER TABLE preferences ADD COLUMN replaced boolean;    -- null: there was no such choice before
