-- psql -v module=PATH -v runs=N: in the encoding of this database
\set ON_ERROR_STOP 1
CREATE FUNCTION fuzz_message(seed bigint, count bigint) RETURNS bigint AS :'module' LANGUAGE C STRICT;
SELECT getdatabaseencoding() AS encoding, fuzz_message(42, :runs) AS messages;
