-- Raises the epoch, never lowers it; check_lease has locked the claim. $1 id, $2 epoch.
UPDATE migrationd.lease l SET epoch = greatest(l.epoch, $2::bigint) WHERE l.migration_id = $1::bigint
