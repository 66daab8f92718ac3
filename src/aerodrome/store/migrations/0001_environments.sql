CREATE TABLE environments (
    id          text PRIMARY KEY,
    partition   text NOT NULL,
    account     text NOT NULL,
    region      text NOT NULL,
    name        text NOT NULL,
    status      text NOT NULL,
    desired     jsonb NOT NULL,
    applied     jsonb,
    last_update jsonb,
    host        text NOT NULL,
    address     text NOT NULL UNIQUE,
    secrets     bytea NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    generation  bigint NOT NULL DEFAULT 1,
    UNIQUE (partition, account, region, name)
);

-- Append-only; outlives the environment, so that one can still read why it went.
CREATE TABLE events (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    environment_id text NOT NULL,
    arn            text NOT NULL,
    at             timestamptz NOT NULL DEFAULT clock_timestamp(),
    type           text NOT NULL,
    message        text NOT NULL,
    actor          text,
    data           jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX events_by_arn ON events (arn, id);

-- Web and CLI tokens: only their SHA-256 is kept.
CREATE TABLE tokens (
    hash           bytea PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('web', 'cli')),
    environment_id text NOT NULL REFERENCES environments ON DELETE CASCADE,
    username       text NOT NULL,
    iam_identity   text NOT NULL,
    roles          text[] NOT NULL,
    expires_at     timestamptz NOT NULL,
    redeemed_at    timestamptz
);

-- Browser and REST sessions, by the SHA-256 of Airflow's own cookie. A revoked one stays, so that it can't come back.
CREATE TABLE sessions (
    hash           text PRIMARY KEY,
    environment_id text NOT NULL REFERENCES environments ON DELETE CASCADE,
    username       text NOT NULL,
    iam_identity   text NOT NULL,
    roles          text[] NOT NULL,
    expires_at     timestamptz NOT NULL,
    revoked        boolean NOT NULL DEFAULT false
);
