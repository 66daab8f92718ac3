-- What the security groups of an environment's private web server let in, as EC2 last told: it holds while EC2 is away.
CREATE TABLE ingress (
    environment_id text PRIMARY KEY,
    groups text[] NOT NULL,
    missing text[] NOT NULL,
    rules jsonb NOT NULL,
    read_at timestamptz NOT NULL DEFAULT now()
);
