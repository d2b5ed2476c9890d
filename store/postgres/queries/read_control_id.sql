-- The identity of this control store.
SELECT control_id::text FROM migrationd.control
