-- Part of the components' names, so that an update can start all of them anew; and what a failed update goes back to.
ALTER TABLE environments ADD COLUMN revision bigint NOT NULL DEFAULT 0;
ALTER TABLE environments ADD COLUMN fallback jsonb;
