-- Sets or replaces a freeze. $1 the freeze by column names.
INSERT INTO migrationd.freeze (target, actor, reason, since, until)
SELECT n.target, n.actor, n.reason, n.since, n.until FROM jsonb_populate_record(NULL::migrationd.freeze, $1::jsonb) n
ON CONFLICT (target) DO UPDATE
  SET actor = excluded.actor, reason = excluded.reason, since = excluded.since, until = excluded.until
