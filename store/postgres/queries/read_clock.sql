-- Database time, as a JSON string, the form in which all times are read.
SELECT to_jsonb(clock_timestamp())
