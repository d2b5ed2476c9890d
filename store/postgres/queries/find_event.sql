-- Whether an earlier attempt of this call was committed, although its connection was lost. $1 uuid of the call. Asked after the
-- migration was locked, so that an attempt that is still committing is waited for.
SELECT EXISTS (SELECT FROM migrationd.event e WHERE e.written_by = $1::uuid)
