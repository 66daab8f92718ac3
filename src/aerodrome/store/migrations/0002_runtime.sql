-- The runtime that an environment runs in, chosen at its first pass. Rows of an earlier release get theirs at the next.
ALTER TABLE environments ADD COLUMN runtime text;
