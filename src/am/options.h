/*
 * options.h
 *		Index options and query settings.
 */
#ifndef KNN_AM_OPTIONS_H
#define KNN_AM_OPTIONS_H

#include "postgres.h"

#include "store/store.h"
#include "utils/rel.h"

typedef enum KnnEncoder
{
	KNN_ENCODER_UNSET,
	KNN_ENCODER_FLAT,
	KNN_ENCODER_SQ,
	KNN_ENCODER_BINARY,
	KNN_ENCODER_PQ,
	/* known, but not for indexes yet: */
	KNN_ENCODER_LVQ,
	KNN_ENCODER_LEANVEC
} KnnEncoder;

/* A boolean option that may not have been given. */
typedef enum KnnSwitch
{
	KNN_SWITCH_UNSET,
	KNN_SWITCH_OFF,
	KNN_SWITCH_ON
} KnnSwitch;

/* WITH (...), free of contradictions; 0 is "not given" unless said otherwise. */

/* Options of all methods that tell what the index keeps of a vector. */
typedef struct KnnCodeOptions
{
	KnnMode		mode;
	int			compression;	/* level */
	KnnEncoder	encoder;
	int			bits;
	bool		fp16;			/* "type" */
	KnnSwitch	clip;
	KnnSwitch	random_rotation;
	KnnSwitch	enable_adc;
	KnnSwitch	store_vectors;
	int			pq_m;			/* of encoder pq */
	int			code_size;
	const char *model_id;		/* NULL: not given */
} KnnCodeOptions;

typedef struct KnnHnswOptions
{
	int			m;				/* never 0 but with a model */
	int			ef_construction;
	int			ef_search;		/* use KnnHnswEfSearch of shape.h */
	bool		remote_build;	/* may be built remotely */
	uint64		remote_size_min;	/* bytes of vectors from which it is */
	KnnCodeOptions code;
} KnnHnswOptions;

typedef struct KnnIvfOptions
{
	int			nlist;			/* never 0 but with a model, as is the other */
	int			nprobes;
	KnnCodeOptions code;
} KnnIvfOptions;

#define KNN_HNSW_DEFAULT_M					16
#define KNN_HNSW_MIN_M						2
#define KNN_HNSW_MAX_M						100
#define KNN_HNSW_MIN_EF_CONSTRUCTION		4
#define KNN_HNSW_MAX_EF_CONSTRUCTION		10000
/* ef_construction and ef_search by default, and where codes have fewer than 8 bits */
#define KNN_HNSW_DEFAULT_EF					100
#define KNN_HNSW_LOW_BIT_EF					256
#define KNN_MAX_EF_SEARCH					100000
#define KNN_DEFAULT_REMOTE_SIZE_MIN			"50MB"

/* those of OpenSearch; KNN_IVF_MAX_NLIST of store/ivf_page.h limits both */
#define KNN_IVF_DEFAULT_NLIST				4
#define KNN_IVF_DEFAULT_NPROBES				1

#define KNN_MAX_COMPRESSION					32
#define KNN_PQ_MAX_COMPRESSION				64

#define KNN_MIN_OVERSAMPLE					1.0
#define KNN_MAX_OVERSAMPLE					100.0

typedef enum KnnScanOrder
{
	KNN_SCAN_ORDER_STRICT,
	KNN_SCAN_ORDER_RELAXED
} KnnScanOrder;

typedef enum KnnRescore
{
	KNN_RESCORE_AUTO,			/* as many exact distances as needed */
	KNN_RESCORE_ON,				/* those of a first pass of fixed size */
	KNN_RESCORE_OFF				/* none */
} KnnRescore;

/* Settings; see options.c for what they mean. */
extern int	knn_ef_search;
extern int	knn_nprobes;
extern int	knn_max_scan_tuples;
extern int	knn_scan_order;
extern int	knn_rescore;		/* KnnRescore */
extern double knn_oversample_factor;	/* 0: KnnDefaultOversample of shape.h */

/* Registers the options and settings; called once at load. */
extern void KnnOptionsInit(void);

extern bytea *KnnHnswOptionsParse(Datum reloptions, bool validate);

/* Options of an index as given. */
extern KnnHnswOptions KnnHnswOptionsOf(Relation index);

extern bytea *KnnIvfOptionsParse(Datum reloptions, bool validate);
extern KnnIvfOptions KnnIvfOptionsOf(Relation index);

/* The value of an option, or ERROR.  Levels are 1, 2, 4, 8, 16 and 32. */
extern int	KnnParseCompressionLevel(const char *value);
extern KnnEncoder KnnParseEncoder(const char *value);
extern const char *KnnEncoderName(KnnEncoder encoder);

/* Codes of encoder pq: the default of code_size, and the most parts. */
#define KNN_PQ_DEFAULT_CODE_SIZE			8
#define KNN_PQ_MAX_M						1023

/* ERROR unless pq_m divides the dimension. */
extern void KnnCheckPqParts(int dim, int pq_m);

/*
 * The compression level that codes of encoder pq count as, for elements of so many
 * bits: the highest that they reach, up to 64.
 */
extern int	KnnPqLevel(int element_bits, int dim, int pq_m, int code_size);

/*
 * The compression level of float vectors that encoder flat, sq or binary comes to;
 * ERROR when it does not have so many bits (0: not given).
 */
extern int	KnnEncoderLevel(KnnEncoder encoder, int bits);

/* ERROR unless the level given (0: none) is the one the encoder comes to. */
extern void KnnCheckEncoderLevel(KnnEncoder encoder, int bits,
								 int encoder_level, int compression);

#endif
