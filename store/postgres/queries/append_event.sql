-- Appends one event that is not part of a mutation; nothing when this call has written it already. $1 the event by column names.
INSERT INTO migrationd.event (migration_id, target, migration, at, kind, actor, request_id, from_word, to_word, reason, written_by)
SELECT (SELECT m.id FROM migrationd.migration m WHERE m.target = e.target AND m.name = e.migration),
       e.target, e.migration, clock_timestamp(), e.kind, e.actor, e.request_id, e.from_word, e.to_word, e.reason, e.written_by
FROM jsonb_populate_record(NULL::migrationd.event, $1::jsonb) e
ON CONFLICT (written_by) DO NOTHING
