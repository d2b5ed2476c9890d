-- Marks the catalogue's migrations whose files are gone ($1, array of ids) and unmarks those that are back ($2), each with an event,
-- in one statement whatever their number; rows that are so already are left alone. $3 uuid of this call. In the order of ids, so
-- that two processes doing it at once do not deadlock. md5 makes an event id of its own for each migration from the call's.
WITH wanted AS MATERIALIZED (
  SELECT i::bigint AS id, true AS missing FROM jsonb_array_elements_text($1::jsonb) i
  UNION
  SELECT i::bigint, false FROM jsonb_array_elements_text($2::jsonb) i
), locked AS MATERIALIZED (
  SELECT m.id, w.missing FROM wanted w JOIN migrationd.migration m ON m.id = w.id
  WHERE m.catalog_missing <> w.missing AND m.catalog_file <> '' AND m.deleted_at IS NULL
  ORDER BY m.id
  FOR NO KEY UPDATE OF m
), changed AS (
  UPDATE migrationd.migration m SET catalog_missing = l.missing, revision = m.revision + 1
  FROM locked l WHERE m.id = l.id
  RETURNING m.id, m.target, m.name, m.catalog_missing
)
INSERT INTO migrationd.event (migration_id, target, migration, at, kind, actor, request_id, from_word, to_word, reason, written_by)
SELECT c.id, c.target, c.name, clock_timestamp(), 'DEFINITION', '', '', '', '',
       CASE WHEN c.catalog_missing THEN 'the file is gone from the catalogue' ELSE 'the file is back in the catalogue' END,
       md5($3::text || '/' || c.id)::uuid
FROM changed c
