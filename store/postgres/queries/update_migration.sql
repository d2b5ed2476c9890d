-- Writes what a mutation decided, guarded by the revision and state it looked at, together with its event; returns the new revision,
-- or no row when another writer was faster. $1 id, $2 revision, $3 state, $4 the migration, $5 the event, as objects by column names.
WITH changed AS (
  UPDATE migrationd.migration m SET
    revision = m.revision + 1,
    state = n.state, intent_state = n.intent_state, intent_actor = n.intent_actor, intent_reason = n.intent_reason,
    intent_since = n.intent_since, intent_until = n.intent_until,
    halt_code = n.halt_code, halt_message = n.halt_message, halt_since = n.halt_since,
    start_requested = n.start_requested, enqueued = n.enqueued, parameters = n.parameters,
    batch_size = n.batch_size, sub_batch_size = n.sub_batch_size, max_batch_size = n.max_batch_size,
    override_batch_size = n.override_batch_size, override_sub_batch_size = n.override_sub_batch_size,
    override_author = n.override_author, override_until = n.override_until, pace_override = n.pace_override,
    fence = n.fence, restart_from = n.restart_from, pause_after_rows = n.pause_after_rows,
    cleanup_requested = n.cleanup_requested, cleaned_up = n.cleaned_up,
    accepted_rows = n.accepted_rows, regressed_rows = n.regressed_rows,
    verify_requested_at = n.verify_requested_at, verify_actor = n.verify_actor, verified_at = n.verified_at,
    started_at = n.started_at, finished_at = n.finished_at,
    definition_digest = n.definition_digest, catalog_digest = n.catalog_digest, catalog_file = n.catalog_file,
    catalog_missing = n.catalog_missing, labels = n.labels
  FROM jsonb_populate_record(NULL::migrationd.migration, $4::jsonb) n
  WHERE m.id = $1::bigint AND m.revision = $2::bigint AND m.state = $3::text AND m.deleted_at IS NULL
  RETURNING m.id, m.target, m.name, m.revision
), event AS (
  INSERT INTO migrationd.event (migration_id, target, migration, at, kind, actor, request_id, from_word, to_word, reason, written_by)
  SELECT c.id, c.target, c.name, clock_timestamp(), e.kind, e.actor, e.request_id, e.from_word, e.to_word, e.reason, e.written_by
  FROM changed c CROSS JOIN jsonb_populate_record(NULL::migrationd.event, $5::jsonb) e
)
SELECT c.revision FROM changed c
