-- Creates a migration with its progress, lease, heartbeat and event, and returns its id; no row when another process was faster
-- with the same name. $1 the migration, $2 the event, as objects by column names. created_at and the times that are "now" come from
-- the caller, who read this database's clock in the same transaction.
WITH created AS (
  INSERT INTO migrationd.migration (
    target, name, version, created_at, state, intent_state, intent_actor, intent_reason, intent_since, intent_until,
    halt_code, halt_message, halt_since, start_requested, enqueued, parameters, batch_size, sub_batch_size, max_batch_size,
    override_batch_size, override_sub_batch_size, override_author, override_until, fence, restart_from, pause_after_rows,
    cleanup_requested, cleaned_up, accepted_rows, regressed_rows, started_at, finished_at, definition_digest, catalog_digest,
    catalog_file, catalog_missing, labels)
  SELECT
    n.target, n.name, n.version, n.created_at, n.state, n.intent_state, n.intent_actor, n.intent_reason, n.intent_since,
    n.intent_until, n.halt_code, n.halt_message, n.halt_since, n.start_requested, n.enqueued, n.parameters, n.batch_size,
    n.sub_batch_size, n.max_batch_size, n.override_batch_size, n.override_sub_batch_size, n.override_author, n.override_until,
    n.fence, n.restart_from, n.pause_after_rows, n.cleanup_requested, n.cleaned_up, n.accepted_rows, n.regressed_rows, n.started_at,
    n.finished_at, n.definition_digest, n.catalog_digest, n.catalog_file, n.catalog_missing, n.labels
  FROM jsonb_populate_record(NULL::migrationd.migration, $1::jsonb) n
  ON CONFLICT (target, name) DO NOTHING
  RETURNING id, target, name
), progress AS (
  INSERT INTO migrationd.progress (migration_id) SELECT c.id FROM created c
), lease AS (
  INSERT INTO migrationd.lease (migration_id) SELECT c.id FROM created c
), heartbeat AS (
  INSERT INTO migrationd.heartbeat (migration_id) SELECT c.id FROM created c
), event AS (
  INSERT INTO migrationd.event (migration_id, target, migration, at, kind, actor, request_id, from_word, to_word, reason, written_by)
  SELECT c.id, c.target, c.name, clock_timestamp(), e.kind, e.actor, e.request_id, e.from_word, e.to_word, e.reason, e.written_by
  FROM created c CROSS JOIN jsonb_populate_record(NULL::migrationd.event, $2::jsonb) e
)
SELECT c.id FROM created c
