-- Several accounts of a channel: who goes on with a delivery, and which account is kept from marketing.

-- The account that goes on after this call; null where the same one does, or nobody.
ALTER TABLE outcomes ADD COLUMN next_account text;

-- Accounts that send no marketing until somebody resumes them, because too much of it bounced or was reported.
-- A row stays after the resume: its time says which events count no more.
CREATE TABLE account_pauses (
    account       text COLLATE "C" PRIMARY KEY,     -- accounts are the installation's (docs/decisions/0008)
    reason        text NOT NULL,                    -- bounced, complained
    evidence      text NOT NULL,                    -- the figures at that time
    paused_at     timestamptz NOT NULL DEFAULT now(),
    resumed_at    timestamptz                       -- null: paused now
);
