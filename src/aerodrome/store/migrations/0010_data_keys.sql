-- The key that everything sealed of the environment is sealed under, itself sealed by the master key. NULL: a row of an
-- earlier release, whose members are each sealed by the master key; the control plane seals them anew when it starts.
ALTER TABLE environments ADD COLUMN data_key bytea;
-- The key of AWS KMS that wraps it as well: without that key it opens nothing.
ALTER TABLE environments ADD COLUMN kms_key text;
