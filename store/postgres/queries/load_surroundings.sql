-- One row: database time, freezes in force as an array, targets as an object by name. JSON, so that one round trip brings all.
SELECT jsonb_build_object(
  'as_of', clock_timestamp(),
  'freezes', (SELECT coalesce(jsonb_agg(to_jsonb(f) ORDER BY f.target COLLATE "C"), '[]')
              FROM migrationd.freeze f WHERE f.until IS NULL OR f.until > clock_timestamp()),
  'targets', (SELECT coalesce(jsonb_object_agg(t.name, to_jsonb(t)), '{}') FROM migrationd.target t))
