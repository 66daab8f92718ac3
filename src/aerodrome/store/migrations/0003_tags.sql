-- Tags change at once and belong to no update: a rollback must not bring old ones back.
ALTER TABLE environments ADD COLUMN tags jsonb NOT NULL DEFAULT '{}';
UPDATE environments
    SET tags = coalesce(desired -> 'Tags', '{}'), desired = desired - 'Tags', applied = applied - 'Tags';
