-- One JSON document a migration, with its progress and its lease (null: nobody claimed it), in the order of (target, version, name).
-- $1 id, 0: all; $2 deleted ones too. One query for one and for all, so that there is one shape to read. Documents carry their
-- columns by name, so that a column added by a newer program does not disturb an older one. Definitions are read apart, by digest.
SELECT jsonb_build_object(
  'as_of', clock_timestamp(),
  'migration', to_jsonb(m),
  'progress', to_jsonb(p),
  'lease', CASE WHEN h.token IS NOT NULL THEN jsonb_build_object(
    'owner', l.owner, 'token', h.token, 'epoch', l.epoch, 'expires_at', h.expires_at, 'live', h.expires_at > clock_timestamp()) END)
FROM migrationd.migration m
JOIN migrationd.progress p ON p.migration_id = m.id
LEFT JOIN migrationd.lease l ON l.migration_id = m.id
LEFT JOIN migrationd.heartbeat h ON h.migration_id = m.id
WHERE ($1::bigint = 0 OR m.id = $1::bigint) AND (m.deleted_at IS NULL OR $2::boolean)
ORDER BY m.target COLLATE "C", m.version COLLATE "C", m.name COLLATE "C"
