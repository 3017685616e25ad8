/* knn--1.0.sql */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION knn" to load this file. \quit

----------------------------------------------------------------------
-- type
----------------------------------------------------------------------

CREATE TYPE knn_vector;

CREATE FUNCTION knn_vector_in(cstring, oid, integer) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_out(knn_vector) RETURNS cstring
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_recv(internal, oid, integer) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_send(knn_vector) RETURNS bytea
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_typmod_in(cstring[]) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_typmod_out(integer) RETURNS cstring
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE TYPE knn_vector (
	INPUT = knn_vector_in,
	OUTPUT = knn_vector_out,
	RECEIVE = knn_vector_recv,
	SEND = knn_vector_send,
	TYPMOD_IN = knn_vector_typmod_in,
	TYPMOD_OUT = knn_vector_typmod_out,
	INTERNALLENGTH = VARIABLE,
	ALIGNMENT = int4,
	STORAGE = external
);

COMMENT ON TYPE knn_vector IS 'vector of float, half, byte or binary elements';

-- applies a type modifier: checks the dimension, converts the data type
CREATE FUNCTION knn_vector(knn_vector, integer, boolean) RETURNS knn_vector
	AS 'MODULE_PATHNAME', 'knn_vector_coerce' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (knn_vector AS knn_vector)
	WITH FUNCTION knn_vector(knn_vector, integer, boolean) AS IMPLICIT;

----------------------------------------------------------------------
-- functions
----------------------------------------------------------------------

CREATE FUNCTION l2_distance(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_l2_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION l2_distance(knn_vector, knn_vector) IS 'Euclidean distance';

CREATE FUNCTION l2_squared(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_l2_squared' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION l2_squared(knn_vector, knn_vector) IS 'squared Euclidean distance';

CREATE FUNCTION inner_product(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_inner_product' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION inner_product(knn_vector, knn_vector) IS 'inner product';

CREATE FUNCTION cosine_distance(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_cosine_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION cosine_distance(knn_vector, knn_vector) IS 'cosine distance, 1 - cosine similarity';

CREATE FUNCTION l1_distance(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_l1_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION l1_distance(knn_vector, knn_vector) IS 'taxicab distance';

CREATE FUNCTION linf_distance(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_linf_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION linf_distance(knn_vector, knn_vector) IS 'Chebyshev distance';

CREATE FUNCTION hamming_distance(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME', 'knn_vector_hamming_distance' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION hamming_distance(knn_vector, knn_vector) IS 'Hamming distance';

CREATE FUNCTION knn_vector_negative_inner_product(knn_vector, knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION knn_vector_negative_inner_product(knn_vector, knn_vector) IS 'negative inner product, implementation of <#>';

CREATE FUNCTION knn_dims(knn_vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION knn_dims(knn_vector) IS 'number of dimensions, bits for binary';

CREATE FUNCTION knn_norm(knn_vector) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION knn_norm(knn_vector) IS 'Euclidean norm';

CREATE FUNCTION knn_data_type(knn_vector) RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION knn_data_type(knn_vector) IS 'float, half, byte or binary';

CREATE FUNCTION l2_normalize(knn_vector) RETURNS knn_vector
	AS 'MODULE_PATHNAME', 'knn_vector_l2_normalize' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

COMMENT ON FUNCTION l2_normalize(knn_vector) IS 'vector of norm 1 in the same direction';

CREATE FUNCTION subvector(v knn_vector, start integer, count integer) RETURNS knn_vector
	AS 'MODULE_PATHNAME', 'knn_vector_subvector' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION subvector(knn_vector, integer, integer) IS 'part of a vector';

CREATE FUNCTION knn_score(space_type text, distance double precision) RETURNS double precision
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

COMMENT ON FUNCTION knn_score(text, double precision) IS 'OpenSearch score of the distance an operator returned';

----------------------------------------------------------------------
-- operators
----------------------------------------------------------------------

CREATE OPERATOR <-> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = l2_distance,
	COMMUTATOR = <->
);

CREATE OPERATOR <#> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_negative_inner_product,
	COMMUTATOR = <#>
);

CREATE OPERATOR <=> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = cosine_distance,
	COMMUTATOR = <=>
);

CREATE OPERATOR <+> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = l1_distance,
	COMMUTATOR = <+>
);

CREATE OPERATOR <%> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = linf_distance,
	COMMUTATOR = <%>
);

CREATE OPERATOR <~> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = hamming_distance,
	COMMUTATOR = <~>
);

CREATE FUNCTION knn_vector_add(knn_vector, knn_vector) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE FUNCTION knn_vector_sub(knn_vector, knn_vector) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE FUNCTION knn_vector_mul(knn_vector, knn_vector) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE FUNCTION knn_vector_concat(knn_vector, knn_vector) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;

CREATE OPERATOR + (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_add,
	COMMUTATOR = +
);

CREATE OPERATOR - (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_sub
);

CREATE OPERATOR * (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_mul,
	COMMUTATOR = *
);

CREATE OPERATOR || (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_concat
);

----------------------------------------------------------------------
-- order and hash
----------------------------------------------------------------------

CREATE FUNCTION knn_vector_lt(knn_vector, knn_vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_le(knn_vector, knn_vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_eq(knn_vector, knn_vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_ne(knn_vector, knn_vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_ge(knn_vector, knn_vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_gt(knn_vector, knn_vector) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_cmp(knn_vector, knn_vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_hash(knn_vector) RETURNS integer
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_hash_extended(knn_vector, bigint) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE OPERATOR < (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_lt,
	COMMUTATOR = >, NEGATOR = >=, RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);

CREATE OPERATOR <= (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_le,
	COMMUTATOR = >=, NEGATOR = >, RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);

CREATE OPERATOR = (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_eq,
	COMMUTATOR = =, NEGATOR = <>, RESTRICT = eqsel, JOIN = eqjoinsel,
	HASHES, MERGES
);

CREATE OPERATOR <> (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_ne,
	COMMUTATOR = <>, NEGATOR = =, RESTRICT = neqsel, JOIN = neqjoinsel
);

CREATE OPERATOR >= (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_ge,
	COMMUTATOR = <=, NEGATOR = <, RESTRICT = scalargesel, JOIN = scalargejoinsel
);

CREATE OPERATOR > (
	LEFTARG = knn_vector, RIGHTARG = knn_vector, FUNCTION = knn_vector_gt,
	COMMUTATOR = <, NEGATOR = <=, RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);

CREATE OPERATOR CLASS knn_vector_ops DEFAULT FOR TYPE knn_vector USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 knn_vector_cmp(knn_vector, knn_vector);

CREATE OPERATOR CLASS knn_vector_ops DEFAULT FOR TYPE knn_vector USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 knn_vector_hash(knn_vector),
	FUNCTION 2 knn_vector_hash_extended(knn_vector, bigint);

----------------------------------------------------------------------
-- aggregates
----------------------------------------------------------------------

CREATE FUNCTION knn_vector_accum(internal, knn_vector) RETURNS internal
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;

CREATE FUNCTION knn_vector_combine(internal, internal) RETURNS internal
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE COST 10;

CREATE FUNCTION knn_vector_serialize(internal) RETURNS bytea
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_deserialize(bytea, internal) RETURNS internal
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_sum_final(internal) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE FUNCTION knn_vector_avg_final(internal) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

CREATE AGGREGATE sum(knn_vector) (
	SFUNC = knn_vector_accum,
	STYPE = internal,
	SSPACE = 8192,
	FINALFUNC = knn_vector_sum_final,
	COMBINEFUNC = knn_vector_combine,
	SERIALFUNC = knn_vector_serialize,
	DESERIALFUNC = knn_vector_deserialize,
	PARALLEL = SAFE
);

CREATE AGGREGATE avg(knn_vector) (
	SFUNC = knn_vector_accum,
	STYPE = internal,
	SSPACE = 8192,
	FINALFUNC = knn_vector_avg_final,
	COMBINEFUNC = knn_vector_combine,
	SERIALFUNC = knn_vector_serialize,
	DESERIALFUNC = knn_vector_deserialize,
	PARALLEL = SAFE
);

----------------------------------------------------------------------
-- casts
----------------------------------------------------------------------

-- the second argument of a cast to knn_vector is the type modifier

CREATE FUNCTION knn_vector_from_float4_array(real[], integer, boolean) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_from_float8_array(double precision[], integer, boolean) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_from_int4_array(integer[], integer, boolean) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_from_numeric_array(numeric[], integer, boolean) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_from_bit(bit, integer, boolean) RETURNS knn_vector
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_to_float4_array(knn_vector) RETURNS real[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_to_float8_array(knn_vector) RETURNS double precision[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_to_int4_array(knn_vector) RETURNS integer[]
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE FUNCTION knn_vector_to_bit(knn_vector) RETURNS bit
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;

CREATE CAST (real[] AS knn_vector)
	WITH FUNCTION knn_vector_from_float4_array(real[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (double precision[] AS knn_vector)
	WITH FUNCTION knn_vector_from_float8_array(double precision[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (integer[] AS knn_vector)
	WITH FUNCTION knn_vector_from_int4_array(integer[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (numeric[] AS knn_vector)
	WITH FUNCTION knn_vector_from_numeric_array(numeric[], integer, boolean) AS ASSIGNMENT;

CREATE CAST (bit AS knn_vector)
	WITH FUNCTION knn_vector_from_bit(bit, integer, boolean) AS ASSIGNMENT;

CREATE CAST (knn_vector AS real[])
	WITH FUNCTION knn_vector_to_float4_array(knn_vector) AS ASSIGNMENT;

CREATE CAST (knn_vector AS double precision[])
	WITH FUNCTION knn_vector_to_float8_array(knn_vector) AS ASSIGNMENT;

-- rounds, so it must be asked for
CREATE CAST (knn_vector AS integer[])
	WITH FUNCTION knn_vector_to_int4_array(knn_vector);

CREATE CAST (knn_vector AS bit)
	WITH FUNCTION knn_vector_to_bit(knn_vector) AS ASSIGNMENT;

-- Casts between knn_vector and the types of the extension vector (pgvector),
-- where that is installed.  They go through the text form, which both extensions
-- share.  They are not made members of this extension: else dropping vector
-- would want to drop knn, and a dump would leave them out.
CREATE FUNCTION knn_create_pgvector_casts() RETURNS integer
	LANGUAGE plpgsql VOLATILE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ours constant oid := (
		SELECT t.oid FROM pg_type t
			JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
				AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			JOIN pg_extension e ON e.oid = d.refobjid
		WHERE e.extname = 'knn' AND t.typname = 'knn_vector');
	pair record;
	created integer := 0;
BEGIN
	-- only types that belong to the extension, whatever else has their names
	FOR pair IN
		SELECT c.source, c.target
		FROM pg_type t
			JOIN pg_depend d ON d.classid = 'pg_type'::regclass AND d.objid = t.oid
				AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
			JOIN pg_extension e ON e.oid = d.refobjid
			CROSS JOIN LATERAL (VALUES (t.oid, ours), (ours, t.oid)) AS c(source, target)
		WHERE e.extname = 'vector' AND t.typname IN ('vector', 'halfvec')
			AND NOT EXISTS (SELECT 1 FROM pg_cast
				WHERE castsource = c.source AND casttarget = c.target)
		ORDER BY t.typname, c.source
	LOOP
		-- with this search_path format_type qualifies both names
		EXECUTE format('CREATE CAST (%s AS %s) WITH INOUT AS ASSIGNMENT',
			format_type(pair.source, NULL), format_type(pair.target, NULL));
		IF EXISTS (SELECT 1 FROM pg_depend d JOIN pg_cast k ON k.oid = d.objid
			WHERE d.classid = 'pg_cast'::regclass
				AND d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
				AND k.castsource = pair.source AND k.casttarget = pair.target)
		THEN
			EXECUTE format('ALTER EXTENSION knn DROP CAST (%s AS %s)',
				format_type(pair.source, NULL), format_type(pair.target, NULL));
		END IF;
		created := created + 1;
	END LOOP;
	RETURN created;
END
$$;

REVOKE ALL ON FUNCTION knn_create_pgvector_casts() FROM PUBLIC;

COMMENT ON FUNCTION knn_create_pgvector_casts() IS
	'create the casts between knn_vector and the types of the extension vector';

DO $$ BEGIN PERFORM knn_create_pgvector_casts(); END $$;

-- access methods

CREATE FUNCTION knn_hnsw_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD knn_hnsw TYPE INDEX HANDLER knn_hnsw_handler;

COMMENT ON ACCESS METHOD knn_hnsw IS 'approximate nearest-neighbour search in a layered graph (HNSW)';

CREATE FUNCTION knn_ivf_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C;

CREATE ACCESS METHOD knn_ivf TYPE INDEX HANDLER knn_ivf_handler;

COMMENT ON ACCESS METHOD knn_ivf IS 'approximate nearest-neighbour search in lists around centroids (IVF)';

-- support functions: the space an operator class ranks by

CREATE FUNCTION knn_space_l2(internal) RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION knn_space_ip(internal) RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION knn_space_cosine(internal) RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION knn_space_l1(internal) RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION knn_space_linf(internal) RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;
CREATE FUNCTION knn_space_hamming(internal) RETURNS int4
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

-- operator classes of knn_hnsw

CREATE OPERATOR CLASS knn_vector_l2_ops
	DEFAULT FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <-> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_l2(internal);

CREATE OPERATOR CLASS knn_vector_ip_ops
	FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <#> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_ip(internal);

CREATE OPERATOR CLASS knn_vector_cosine_ops
	FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <=> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_cosine(internal);

CREATE OPERATOR CLASS knn_vector_l1_ops
	FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <+> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_l1(internal);

CREATE OPERATOR CLASS knn_vector_linf_ops
	FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <%> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_linf(internal);

CREATE OPERATOR CLASS knn_vector_hamming_ops
	FOR TYPE knn_vector USING knn_hnsw AS
	OPERATOR 1 <~> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_hamming(internal);

-- operator classes of knn_ivf

CREATE OPERATOR CLASS knn_vector_l2_ops
	DEFAULT FOR TYPE knn_vector USING knn_ivf AS
	OPERATOR 1 <-> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_l2(internal);

CREATE OPERATOR CLASS knn_vector_ip_ops
	FOR TYPE knn_vector USING knn_ivf AS
	OPERATOR 1 <#> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_ip(internal);

CREATE OPERATOR CLASS knn_vector_cosine_ops
	FOR TYPE knn_vector USING knn_ivf AS
	OPERATOR 1 <=> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_cosine(internal);

CREATE OPERATOR CLASS knn_vector_l1_ops
	FOR TYPE knn_vector USING knn_ivf AS
	OPERATOR 1 <+> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_l1(internal);

CREATE OPERATOR CLASS knn_vector_linf_ops
	FOR TYPE knn_vector USING knn_ivf AS
	OPERATOR 1 <%> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_linf(internal);

CREATE OPERATOR CLASS knn_vector_hamming_ops
	FOR TYPE knn_vector USING knn_ivf AS
	OPERATOR 1 <~> (knn_vector, knn_vector) FOR ORDER BY pg_catalog.float_ops,
	FUNCTION 1 knn_space_hamming(internal);

-- administration

-- what an index is, and its state; for whoever may read the table or pg_monitor
CREATE FUNCTION knn_index_info(index regclass,
	OUT method text, OUT space_type text, OUT data_type text, OUT dimension integer,
	OUT m integer, OUT ef_construction integer, OUT ef_search integer,
	OUT nlist integer, OUT nprobes integer, OUT lists integer, OUT longest_list bigint,
	OUT encoder text, OUT pq_m integer, OUT code_size integer, OUT model_id text,
	OUT compression_level text, OUT mode text, OUT store_vectors boolean,
	OUT remote_index_build boolean, OUT remote_index_build_size_min bigint,
	OUT format_version integer,
	OUT rows bigint, OUT nodes bigint, OUT duplicates bigint,
	OUT tombstones bigint, OUT tombstone_share double precision, OUT unwritten_ids bigint,
	OUT entry_point bigint, OUT level_nodes bigint[], OUT mean_degree double precision,
	OUT centre_drift double precision, OUT list_drift double precision,
	OUT index_bytes bigint, OUT meta_bytes bigint, OUT tid_bytes bigint,
	OUT links_bytes bigint, OUT code_bytes bigint, OUT vector_bytes bigint,
	OUT upper_bytes bigint, OUT chain_bytes bigint, OUT centre_bytes bigint,
	OUT block_bytes bigint, OUT list_bytes bigint,
	OUT unused_bytes bigint, OUT memory_bytes bigint, OUT estimated_memory bigint)
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION knn_index_info(regclass) IS
	'options, counts, sizes and state of a knn index';

-- for whoever owns the table or may maintain it
CREATE FUNCTION knn_index_check(index regclass, heapallindexed boolean DEFAULT false,
	reachable boolean DEFAULT false) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION knn_index_check(regclass, boolean, boolean) IS
	'raise an error unless the index is sound (and holds all rows; and warn about rows no search can find)';

-- recall of an index against exact search, of rows drawn at random
CREATE FUNCTION knn_index_recall(index regclass, sample integer DEFAULT 100, k integer DEFAULT 10,
	OUT recall double precision, OUT recall_min double precision, OUT recall_p10 double precision,
	OUT queries integer, OUT k integer, OUT ef_search integer, OUT nprobes integer, OUT rows bigint,
	OUT index_ms double precision, OUT exact_ms double precision)
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION knn_index_recall(regclass, integer, integer) IS
	'recall of a knn index against exact search, measured with rows of its table';

-- bytes of memory that an index would take, by the rules of thumb of OpenSearch
CREATE FUNCTION knn_estimate_memory(method text, dimension integer, count bigint,
	data_type text DEFAULT 'float', compression_level text DEFAULT NULL,
	encoder text DEFAULT NULL, m integer DEFAULT 16, nlist integer DEFAULT NULL,
	bits integer DEFAULT NULL, pq_m integer DEFAULT NULL, code_size integer DEFAULT NULL,
	segments integer DEFAULT 1) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C IMMUTABLE PARALLEL SAFE;

COMMENT ON FUNCTION knn_estimate_memory(text, integer, bigint, text, text, text, integer, integer,
	integer, integer, integer, integer) IS
	'estimated bytes of memory of a vector index';

----------------------------------------------------------------------
-- the native memory cache
----------------------------------------------------------------------

-- for whoever owns the tables or may maintain them
CREATE FUNCTION knn_warmup(VARIADIC names text[] DEFAULT '{}') RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION knn_warmup(text[]) IS
	'load indexes, by names and patterns of indexes and tables, into the native memory cache, or of knn_ivf into shared buffers';

CREATE FUNCTION knn_clear_cache(VARIADIC names text[] DEFAULT '{}') RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION knn_clear_cache(text[]) IS
	'remove indexes, by names and patterns of indexes and tables, from the native memory cache';

-- statistics of the whole server are for those who may read all of them

CREATE FUNCTION knn_stats(VARIADIC names text[] DEFAULT '{}') RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION knn_stats(text[]) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION knn_stats(text[]) TO pg_read_all_stats;

COMMENT ON FUNCTION knn_stats(text[]) IS
	'statistics, all or those named, in the shape of OpenSearch';

CREATE FUNCTION knn_stats_reset() RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION knn_stats_reset() FROM PUBLIC;

COMMENT ON FUNCTION knn_stats_reset() IS
	'let the counters of knn_stats and knn_stat begin at zero';

CREATE FUNCTION knn_stat_counters(
	OUT cache_enabled boolean, OUT cache_size bigint, OUT cache_limit bigint, OUT cache_used bigint,
	OUT circuit_breaker_triggered boolean, OUT cache_capacity_reached boolean,
	OUT indices_in_cache bigint,
	OUT hit_count bigint, OUT miss_count bigint,
	OUT load_success_count bigint, OUT load_exception_count bigint, OUT load_bytes bigint,
	OUT eviction_count bigint, OUT refresh_count bigint,
	OUT knn_query_requests bigint, OUT graph_query_requests bigint, OUT graph_query_errors bigint,
	OUT graph_index_requests bigint, OUT graph_index_errors bigint, OUT rejected_index_requests bigint,
	OUT index_builds bigint, OUT index_rebuilds bigint, OUT index_build_errors bigint,
	OUT index_build_rows bigint,
	OUT load_time double precision, OUT index_build_time double precision,
	OUT stats_reset timestamptz)
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION knn_stat_counters() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION knn_stat_counters() TO pg_read_all_stats;

CREATE VIEW knn_stat AS SELECT * FROM knn_stat_counters();
GRANT SELECT ON knn_stat TO pg_read_all_stats;

COMMENT ON VIEW knn_stat IS
	'one row of statistics of the server; sizes in bytes, times in milliseconds';

CREATE FUNCTION knn_cache_entries(
	OUT datid oid, OUT indexrelid oid, OUT state text, OUT bytes bigint, OUT nodes bigint,
	OUT searches bigint, OUT last_used timestamptz, OUT loaded_at timestamptz,
	OUT load_time double precision, OUT loader_pid integer, OUT standby boolean)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION knn_cache_entries() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION knn_cache_entries() TO pg_read_all_stats;

-- names are known of the current database alone
CREATE VIEW knn_cache AS
	SELECT e.datid, d.datname, i.relid, e.indexrelid, i.schemaname, i.relname, i.indexrelname,
		e.state, e.bytes, e.nodes, e.searches, e.last_used, e.loaded_at, e.load_time,
		e.loader_pid, e.standby
	FROM knn_cache_entries() e
		LEFT JOIN pg_catalog.pg_database d ON d.oid = e.datid
		LEFT JOIN (
			SELECT x.indexrelid, x.indrelid AS relid, n.nspname AS schemaname,
				t.relname, c.relname AS indexrelname
			FROM pg_catalog.pg_index x
				JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
				JOIN pg_catalog.pg_class t ON t.oid = x.indrelid
				JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace) i
			ON i.indexrelid = e.indexrelid AND d.datname = current_database();
GRANT SELECT ON knn_cache TO pg_read_all_stats;

COMMENT ON VIEW knn_cache IS
	'indexes in the native memory cache, of all databases';

CREATE FUNCTION knn_progress_reports(
	OUT pid integer, OUT datid oid, OUT usesysid oid, OUT relid oid, OUT command text,
	OUT phase text, OUT done bigint, OUT total bigint, OUT started timestamptz)
	RETURNS SETOF record
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL RESTRICTED;
REVOKE ALL ON FUNCTION knn_progress_reports() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION knn_progress_reports() TO pg_read_all_stats;

CREATE VIEW knn_progress AS
	SELECT p.pid, p.datid, d.datname, r.rolname AS usename, p.relid, c.relname,
		p.command, p.phase, p.done, p.total, p.started
	FROM knn_progress_reports() p
		LEFT JOIN pg_catalog.pg_database d ON d.oid = p.datid
		LEFT JOIN pg_catalog.pg_roles r ON r.oid = p.usesysid
		LEFT JOIN pg_catalog.pg_class c ON c.oid = p.relid AND d.datname = current_database();
GRANT SELECT ON knn_progress TO pg_read_all_stats;

COMMENT ON VIEW knn_progress IS
	'commands of the extension that run, and how far they are';

----------------------------------------------------------------------
-- models
----------------------------------------------------------------------

-- Of a schema only where the extension is: it can be moved.  Written and read by the
-- functions, which know who may; by name, so that ids sort and compare as bytes.
CREATE TABLE knn_model (
	model_id text COLLATE "C" PRIMARY KEY,
	state text NOT NULL CHECK (state IN ('training', 'created', 'failed')),
	"timestamp" timestamptz NOT NULL,
	owner regrole NOT NULL,
	description text NOT NULL,
	error text NOT NULL,
	space_type text NOT NULL,
	dimension integer NOT NULL,
	engine text NOT NULL,
	method jsonb NOT NULL,
	data_type text NOT NULL,
	mode text,
	compression_level text,
	training_table oid,
	training_column text,
	max_training_vector_count integer,
	search_size integer,
	run bigint NOT NULL,
	trainer_pid integer,
	model_version text NOT NULL,
	model_blob bytea
);
SELECT pg_catalog.pg_extension_config_dump('knn_model', '');
-- whoever dumps and restores the database need not be a superuser
GRANT SELECT, INSERT ON knn_model TO @extowner@;

COMMENT ON TABLE knn_model IS
	'models; use knn_models and the functions';

CREATE FUNCTION knn_training_alive(run bigint) RETURNS boolean
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION knn_training_alive(bigint) IS
	'does a process train the model with this run?';

-- those of the current user; a training that nobody is at has failed
CREATE VIEW knn_models WITH (security_barrier) AS
	SELECT m.model_id,
		CASE WHEN m.lost THEN 'failed' ELSE m.state END AS state,
		m."timestamp", m.owner, m.description,
		CASE WHEN m.lost THEN 'Training failed to complete as cluster crashed' ELSE m.error END AS error,
		m.space_type, m.dimension, m.engine, m.method, m.data_type, m.mode, m.compression_level,
		CASE WHEN NOT m.lost THEN m.trainer_pid END AS trainer_pid,
		m.model_version, octet_length(m.model_blob) AS model_size
	FROM (SELECT *, state = 'training' AND NOT knn_training_alive(run) AS lost FROM knn_model) m
	WHERE pg_catalog.pg_has_role(m.owner, 'USAGE')
		OR pg_catalog.pg_has_role('pg_read_all_data', 'USAGE');
GRANT SELECT ON knn_models TO PUBLIC;

COMMENT ON VIEW knn_models IS
	'models of the roles whose privileges one has';

-- returns the id; the training goes on when the transaction has committed
CREATE FUNCTION knn_train_model(model_id text, training_table regclass, training_column name,
	dimension integer, method jsonb DEFAULT NULL, description text DEFAULT '',
	max_training_vector_count integer DEFAULT NULL, search_size integer DEFAULT 10000,
	space_type text DEFAULT NULL, data_type text DEFAULT 'float',
	mode text DEFAULT NULL, compression_level text DEFAULT NULL) RETURNS text
	AS 'MODULE_PATHNAME' LANGUAGE C VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION knn_train_model(text, regclass, name, integer, jsonb, text, integer, integer,
	text, text, text, text) IS
	'begin to train a model from vectors of a table';

CREATE FUNCTION knn_get_model(model_id text) RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION knn_get_model(text) IS
	'a model and its state';

CREATE FUNCTION knn_search_models(query jsonb DEFAULT '{}') RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL RESTRICTED;

COMMENT ON FUNCTION knn_search_models(jsonb) IS
	'models that a query of OpenSearch finds';

CREATE FUNCTION knn_delete_model(model_id text) RETURNS jsonb
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

COMMENT ON FUNCTION knn_delete_model(text) IS
	'delete a model that is not in training and not used by an index';

-- object stores for remote builds: servers, and user mappings with credentials; no tables
CREATE FUNCTION knn_repository_validator(options text[], catalog oid) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT VOLATILE PARALLEL SAFE;

CREATE FOREIGN DATA WRAPPER knn_repository NO HANDLER VALIDATOR knn_repository_validator;

COMMENT ON FOREIGN DATA WRAPPER knn_repository IS
	'object stores through which a service elsewhere builds indexes';
