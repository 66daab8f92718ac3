-- What was made of an environment's plugins.zip, startup script and requirements.txt, by recipe; sealed, since a script's
-- exports may be secrets.
ALTER TABLE environments ADD COLUMN made bytea;
