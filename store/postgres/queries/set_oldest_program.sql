-- Locks older programs out, in the transaction of the step that takes away what they use. $1 oldest_program.
UPDATE migrationd.control SET oldest_program = $1::integer WHERE oldest_program < $1::integer
