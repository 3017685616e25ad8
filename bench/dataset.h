/*
 * dataset.h
 *		A data set in memory: base vectors, queries and the exact answers.
 *
 * Whatever the file held, vectors are floats here; row i of base becomes the
 * table's row with id i.
 */
#ifndef BENCH_DATASET_H
#define BENCH_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DATASET_MAX_DIM 16000

typedef enum
{
	METRIC_UNKNOWN,
	METRIC_L2,
	METRIC_COSINE,
	METRIC_IP
} metric_t;

typedef struct
{
	size_t		rows;
	uint32_t	dim;
	float	   *values;			/* rows x dim */
} matrix_t;

typedef struct
{
	char	   *name;
	metric_t	metric;
	matrix_t	base;
	matrix_t	query;

	/*
	 * The exact nearest rows of every query, nearest first, and their
	 * distances (smaller is nearer for every metric).
	 */
	size_t		truth_k;
	int32_t    *truth;			/* query.rows x truth_k */
	double	   *truth_distance; /* query.rows x truth_k */
	bool		truth_computed; /* by this program, not read from a file */
} dataset_t;

/* What the user gave; NULL or 0 where nothing was. */
typedef struct
{
	const char *path;			/* prefix of the files, or one .hdf5 file */
	const char *base_file;
	const char *query_file;
	const char *truth_file;
	metric_t	metric;
	uint32_t	dim;
	size_t		max_rows;
	size_t		max_queries;
	size_t		min_truth_k;	/* answers per query the run needs */
} dataset_request_t;

extern void dataset_open(dataset_t *set, const dataset_request_t *request);
extern void dataset_free(dataset_t *set);

extern metric_t metric_from_name(const char *name);
extern const char *metric_name(metric_t metric);

extern const float *matrix_row(const matrix_t *m, size_t row);

/* Smaller is nearer; the metric's true value, not a rank-equal shortcut. */
extern double exact_distance(metric_t metric, const float *a, const float *b,
							 uint32_t dim);

/*
 * The k nearest of the rows for which keep[row] is set (all when keep is
 * NULL).  Fills fewer than k only when there are fewer; returns how many.
 */
extern size_t exact_nearest(const matrix_t *base, metric_t metric,
							const float *query, const uint8_t *keep, size_t k,
							int32_t *ids, double *distances);

/* hdf5.c; dies with an explanation when built without HDF5. */
extern void read_hdf5(const char *path, matrix_t *base, matrix_t *query,
					  int32_t **truth, size_t *truth_rows, size_t *truth_k,
					  metric_t *metric);

#endif
