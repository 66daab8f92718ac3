-- Who may call, for installations without AWS (AERODROME_IDENTITY=table). One account, which is the installation's.

CREATE TABLE identities (
    id          text PRIMARY KEY,  -- AIDA… user, AGPA… group, AROA… role; never given out again
    kind        text NOT NULL CHECK (kind IN ('user', 'group', 'role')),
    name        text NOT NULL,
    tags        jsonb NOT NULL DEFAULT '{}',
    boundary    text,
    trust       json CHECK ((trust IS NOT NULL) = (kind = 'role')),
    max_seconds integer NOT NULL DEFAULT 3600,  -- that a session of a role may last
    created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX identities_by_name ON identities (kind, lower(name));  -- IAM has no two names that differ in case alone

CREATE TABLE memberships (
    member   text NOT NULL REFERENCES identities ON DELETE CASCADE,
    group_id text NOT NULL REFERENCES identities ON DELETE CASCADE,
    PRIMARY KEY (member, group_id)
);

-- `json`, not `jsonb`: a document is shown as it was given.
CREATE TABLE policies (
    name       text PRIMARY KEY,
    document   json NOT NULL,
    is_aws     boolean NOT NULL DEFAULT false,
    created_at timestamptz NOT NULL DEFAULT now(),
    changed_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX policies_by_name ON policies (lower(name));
INSERT INTO policies (name, document, is_aws) VALUES (
    'AdministratorAccess',
    '{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}',
    true
);
ALTER TABLE identities ADD FOREIGN KEY (boundary) REFERENCES policies;

CREATE TABLE attachments (
    identity text NOT NULL REFERENCES identities ON DELETE CASCADE,
    policy   text NOT NULL REFERENCES policies,
    PRIMARY KEY (identity, policy)
);
CREATE TABLE inline_policies (
    identity text NOT NULL REFERENCES identities ON DELETE CASCADE,
    name     text NOT NULL,
    document json NOT NULL,
    PRIMARY KEY (identity, name)
);

-- Secrets lie sealed: a signature can only be checked with the secret itself.
CREATE TABLE access_keys (
    id         text PRIMARY KEY,
    identity   text NOT NULL REFERENCES identities ON DELETE CASCADE,
    secret     bytea NOT NULL,
    active     boolean NOT NULL DEFAULT true,
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX access_keys_by_identity ON access_keys (identity);

-- Temporary credentials. Of a session's token only the SHA-256 is kept.
CREATE TABLE role_sessions (
    key_id     text PRIMARY KEY,
    identity   text NOT NULL REFERENCES identities ON DELETE CASCADE,
    name       text NOT NULL,
    secret     bytea NOT NULL,
    token      bytea NOT NULL,
    policies   json,
    expires_at timestamptz NOT NULL
);

-- Every change of the above counts it up: whoever remembers a principal knows by it whether that is still true.
CREATE TABLE identity_revision (revision bigint NOT NULL);
INSERT INTO identity_revision VALUES (1);
