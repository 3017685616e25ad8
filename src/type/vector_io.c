/*
 * vector_io.c
 *		Text and binary input and output, and type modifiers.
 */
#include "postgres.h"

#include <limits.h>
#include <math.h>

#include "catalog/pg_type.h"
#include "common/shortest_dec.h"
#include "libpq/pqformat.h"
#include "port/pg_bswap.h"
#include "mb/pg_wchar.h"
#include "utils/array.h"
#include "utils/builtins.h"

#include "compat.h"
#include "core/vector_text.h"
#include "type/knn_vector.h"

/* How much of a bad literal an error message repeats. */
#define QUOTED_LENGTH 60

PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_in);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_out);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_recv);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_send);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_typmod_in);
PGDLLEXPORT PG_FUNCTION_INFO_V1(knn_vector_typmod_out);

/*
 * The start of a piece of text for a message: a literal of 16,000 numbers is of
 * no use in a log.
 */
static const char *
Quote(const char *start, size_t len)
{
	int			clipped;

	if (len <= QUOTED_LENGTH)
		return pnstrdup(start, len);
	clipped = pg_mbcliplen(start, (int) Min(len, (size_t) INT_MAX), QUOTED_LENGTH);
	return psprintf("%.*s...", clipped, start);
}

static void
ReportTextError(const char *literal, knn_text_status status,
				const knn_text_result *result, struct Node *escontext)
{
	const char *whole = Quote(literal, strlen(literal));
	const char *here = literal + result->offset;
	uint32		element = result->count + 1;

	switch (status)
	{
		case KNN_TEXT_OK:
			break;
		case KNN_TEXT_EMPTY:
			ereturn(escontext,,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("knn_vector must have at least 1 dimension")));
			break;
		case KNN_TEXT_TOO_MANY:
			ereturn(escontext,,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("knn_vector cannot have more than %d dimensions", KNN_MAX_DIM)));
			break;
		case KNN_TEXT_NAN:
			ereturn(escontext,,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("knn_vector values cannot be NaN"),
					 errdetail("Element %u is NaN.", element)));
			break;
		case KNN_TEXT_INFINITY:
			ereturn(escontext,,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("knn_vector values cannot be infinity"),
					 errdetail("Element %u is infinite.", element)));
			break;
		case KNN_TEXT_OUT_OF_RANGE:
			ereturn(escontext,,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("\"%s\" is out of range for type knn_vector",
							Quote(here, result->length)),
					 errdetail("It is element %u.", element)));
			break;
		case KNN_TEXT_NO_OPENING:
			ereturn(escontext,,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type knn_vector: \"%s\"", whole),
					 errdetail("Vector contents must start with \"[\".")));
			break;
		case KNN_TEXT_NOT_A_NUMBER:
			ereturn(escontext,,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type knn_vector: \"%s\"", whole),
					 errdetail("Element %u is not a number.", element)));
			break;
		case KNN_TEXT_NO_DELIMITER:
			ereturn(escontext,,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type knn_vector: \"%s\"", whole),
					 errdetail("Expected \",\" or \"]\" but found \"%s\".",
							   pnstrdup(here, pg_mblen(here)))));
			break;
		case KNN_TEXT_UNTERMINATED:
			ereturn(escontext,,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type knn_vector: \"%s\"", whole),
					 errdetail("Unexpected end of input.")));
			break;
		case KNN_TEXT_TRAILING:
			ereturn(escontext,,
					(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
					 errmsg("invalid input syntax for type knn_vector: \"%s\"", whole),
					 errdetail("Junk after closing bracket.")));
			break;
	}
}

/*
 * Text form to vector.  What is read is a vector of floats; a type modifier
 * (COPY and parameters have it here, literals get it by the cast) converts it.
 */
Datum
knn_vector_in(PG_FUNCTION_ARGS)
{
	char	   *literal = PG_GETARG_CSTRING(0);
	int32		typmod = PG_GETARG_INT32(2);
	struct Node *escontext = KnnErrorContext(fcinfo);
	size_t		len = strlen(literal);
	uint32		max = (uint32) Min(len / 2 + 1, (size_t) KNN_MAX_DIM);
	knn_text_result result;
	knn_text_status status;
	KnnVector  *v;
	Size		size;

	/*
	 * An element takes two bytes of text at least, so this is room enough for
	 * all of them, and the text need not be read twice to count them.
	 */
	v = (KnnVector *) palloc(KNN_VECTOR_HEADER_SIZE + KnnVectorDataSize(max, KNN_DATA_FLOAT));
	status = knn_vector_text_parse(literal, len, KnnVectorFloats(v), max, &result);
	if (unlikely(status != KNN_TEXT_OK))
	{
		ReportTextError(literal, status, &result, escontext);
		PG_RETURN_NULL();
	}

	size = KNN_VECTOR_HEADER_SIZE + KnnVectorDataSize(result.count, KNN_DATA_FLOAT);
	SET_VARSIZE(v, size);
	v->dim = (uint16) result.count;
	v->data_type = KNN_DATA_FLOAT;
	v->unused = 0;

	v = KnnVectorCoerce(v, typmod, escontext);
	if (v == NULL)
		PG_RETURN_NULL();
	PG_RETURN_KNN_VECTOR_P(v);
}

/*
 * Vector to text form.  Floats and halves are printed with the fewest digits
 * that read back as the same float, whatever extra_float_digits says.
 */
Datum
knn_vector_out(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	uint32		n = KnnVectorElements(v);
	char	   *buf;
	char	   *p;

	/* a float with its separator; bytes need less */
	buf = (char *) palloc((Size) n * FLOAT_SHORTEST_DECIMAL_LEN + 3);
	p = buf;
	*p++ = '[';
	switch ((KnnDataType) v->data_type)
	{
		case KNN_DATA_FLOAT:
			for (uint32 i = 0; i < n; i++)
			{
				if (i > 0)
					*p++ = ',';
				p += float_to_shortest_decimal_bufn(KnnVectorFloats(v)[i], p);
			}
			break;
		case KNN_DATA_HALF:
			for (uint32 i = 0; i < n; i++)
			{
				if (i > 0)
					*p++ = ',';
				p += float_to_shortest_decimal_bufn(knn_half_to_float(KnnVectorHalves(v)[i]), p);
			}
			break;
		case KNN_DATA_BYTE:
		case KNN_DATA_BINARY:
			for (uint32 i = 0; i < n; i++)
			{
				if (i > 0)
					*p++ = ',';
				p += pg_ltoa(KnnVectorBytes(v)[i], p);
			}
			break;
	}
	*p++ = ']';
	*p = '\0';

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_CSTRING(buf);
}

/* As pq_getmsgfloat4 would give them, without a call for each. */
static void
receive_floats(StringInfo buf, float *to, int n)
{
	const char *from = pq_getmsgbytes(buf, n * (int) sizeof(float));

	for (int i = 0; i < n; i++)
	{
		uint32		word;

		memcpy(&word, from + i * sizeof(word), sizeof(word));
		word = pg_ntoh32(word);
		memcpy(&to[i], &word, sizeof(word));
	}
}

/*
 * Binary form: int16 dimension, int16 data type, elements, all big-endian.
 * With data type 0 (float) this is also pgvector's form.
 */
Datum
knn_vector_recv(PG_FUNCTION_ARGS)
{
	StringInfo	buf = (StringInfo) PG_GETARG_POINTER(0);
	int32		typmod = PG_GETARG_INT32(2);
	int			dim;
	int			data_type;
	Size		size;
	KnnVector  *v;

	dim = (int16) pq_getmsgint(buf, 2);
	data_type = (int16) pq_getmsgint(buf, 2);

	if (data_type < KNN_DATA_FLOAT || data_type > KNN_DATA_BINARY)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid data type code in external \"knn_vector\" value"),
				 errdetail("The code is %d.", data_type)));
	KnnCheckDim(dim, (KnnDataType) data_type, NULL);

	/* before allocating anything on the message's word */
	size = KnnVectorDataSize((uint32) dim, (KnnDataType) data_type);
	if ((Size) (buf->len - buf->cursor) != size)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid length in external \"knn_vector\" value"),
				 errdetail("Expected %zu bytes for %d dimensions, got %d.",
						   size, dim, buf->len - buf->cursor)));

	v = KnnVectorAlloc((uint32) dim, (KnnDataType) data_type);
	switch ((KnnDataType) data_type)
	{
		case KNN_DATA_FLOAT:
			receive_floats(buf, KnnVectorFloats(v), dim);
			KnnCheckFloats(KnnVectorFloats(v), (uint32) dim, NULL);
			break;
		case KNN_DATA_HALF:
			for (int i = 0; i < dim; i++)
			{
				float		f;

				KnnVectorHalves(v)[i] = (knn_half) pq_getmsgint(buf, 2);
				f = knn_half_to_float(KnnVectorHalves(v)[i]);
				if (isnan(f))
					ereport(ERROR,
							(errcode(ERRCODE_DATA_EXCEPTION),
							 errmsg("knn_vector values cannot be NaN"),
							 errdetail("Element %d is NaN.", i + 1)));
				if (isinf(f))
					ereport(ERROR,
							(errcode(ERRCODE_DATA_EXCEPTION),
							 errmsg("knn_vector values cannot be infinity"),
							 errdetail("Element %d is infinite.", i + 1)));
			}
			break;
		case KNN_DATA_BYTE:
		case KNN_DATA_BINARY:
			pq_copymsgbytes(buf, v->data, (int) size);
			break;
	}

	PG_RETURN_KNN_VECTOR_P(KnnVectorCoerce(v, typmod, NULL));
}

Datum
knn_vector_send(PG_FUNCTION_ARGS)
{
	KnnVector  *v = PG_GETARG_KNN_VECTOR_P(0);
	StringInfoData buf;

	pq_begintypsend(&buf);
	pq_sendint16(&buf, v->dim);
	pq_sendint16(&buf, v->data_type);
	switch ((KnnDataType) v->data_type)
	{
		case KNN_DATA_FLOAT:
			for (int i = 0; i < v->dim; i++)
				pq_sendfloat4(&buf, KnnVectorFloats(v)[i]);
			break;
		case KNN_DATA_HALF:
			for (int i = 0; i < v->dim; i++)
				pq_sendint16(&buf, KnnVectorHalves(v)[i]);
			break;
		case KNN_DATA_BYTE:
		case KNN_DATA_BINARY:
			pq_sendbytes(&buf, v->data,
						 (int) KnnVectorDataSize(v->dim, (KnnDataType) v->data_type));
			break;
	}

	PG_FREE_IF_COPY(v, 0);
	PG_RETURN_BYTEA_P(pq_endtypsend(&buf));
}

/*
 * knn_vector(dim [, data_type])
 */
Datum
knn_vector_typmod_in(PG_FUNCTION_ARGS)
{
	ArrayType  *ta = PG_GETARG_ARRAYTYPE_P(0);
	Datum	   *elems;
	int			n;
	char	   *end;
	long		dim;
	KnnDataType data_type = KNN_DATA_FLOAT;

	if (ARR_ELEMTYPE(ta) != CSTRINGOID || ARR_NDIM(ta) != 1 || ARR_HASNULL(ta))
		elog(ERROR, "type modifier of knn_vector must be a one-dimensional cstring array");
	deconstruct_array(ta, CSTRINGOID, -2, false, TYPALIGN_CHAR, &elems, NULL, &n);

	if (n < 1 || n > 2)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid type modifier for type knn_vector"),
				 errhint("Use knn_vector(dimension) or knn_vector(dimension, 'data_type').")));

	errno = 0;
	dim = strtol(DatumGetCString(elems[0]), &end, 10);
	if (end == DatumGetCString(elems[0]) || *end != '\0')
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid dimension \"%s\" for type knn_vector", DatumGetCString(elems[0]))));
	if (dim < 1)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension of type knn_vector must be greater than 0")));
	if (dim > KNN_MAX_DIM)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension of type knn_vector cannot be greater than %d", KNN_MAX_DIM)));

	if (n == 2)
	{
		const char *name = DatumGetCString(elems[1]);
		int			i;

		for (i = KNN_DATA_FLOAT; i <= KNN_DATA_BINARY; i++)
		{
			if (pg_strcasecmp(name, KnnDataTypeName((KnnDataType) i)) == 0)
				break;
		}
		if (i > KNN_DATA_BINARY)
			ereport(ERROR,
					(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					 errmsg("invalid data type \"%s\" for type knn_vector", name),
					 errhint("Supported values are \"float\", \"half\", \"byte\" and \"binary\".")));
		data_type = (KnnDataType) i;
	}
	if (data_type == KNN_DATA_BINARY && dim % 8 != 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("dimension of type knn_vector must be a multiple of 8 for data type \"binary\"")));

	PG_RETURN_INT32(KnnTypmodMake(dim, data_type));
}

Datum
knn_vector_typmod_out(PG_FUNCTION_ARGS)
{
	int32		typmod = PG_GETARG_INT32(0);
	KnnDataType data_type;

	if (typmod < 0)
		PG_RETURN_CSTRING(pstrdup(""));
	data_type = KnnTypmodDataType(typmod);
	if (data_type == KNN_DATA_FLOAT)
		PG_RETURN_CSTRING(psprintf("(%d)", KnnTypmodDim(typmod)));
	if (data_type > KNN_DATA_BINARY)
		elog(ERROR, "invalid type modifier %d for type knn_vector", typmod);
	PG_RETURN_CSTRING(psprintf("(%d,'%s')", KnnTypmodDim(typmod), KnnDataTypeName(data_type)));
}
