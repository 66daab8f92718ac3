-- A token, and the session that it opens, say who asked for it: they end when that key, user or permission goes.
-- Those of an earlier release can't say, so they end now.
DELETE FROM tokens;
DROP TABLE sessions;
ALTER TABLE tokens ADD COLUMN reference jsonb NOT NULL, ADD COLUMN source_ip text NOT NULL;
CREATE TABLE sessions (
    id             text PRIMARY KEY,
    environment_id text NOT NULL REFERENCES environments ON DELETE CASCADE,
    username       text NOT NULL,
    iam_identity   text NOT NULL,
    roles          text[] NOT NULL,
    reference      jsonb NOT NULL,
    source_ip      text NOT NULL,
    created_at     timestamptz NOT NULL,
    expires_at     timestamptz NOT NULL,
    seen_at        timestamptz NOT NULL,
    ended          text
);
CREATE INDEX sessions_by_user ON sessions (environment_id, username);
-- Airflow replaces its cookie now and then: all of them, by their SHA-256, are one session. Those of an ended one stay
-- with it, so that none can come back.
CREATE TABLE session_cookies (
    hash       text PRIMARY KEY,
    session_id text NOT NULL REFERENCES sessions ON DELETE CASCADE
);
CREATE INDEX session_cookies_by_session ON session_cookies (session_id);
