/*
 * dataset.c
 *		Finding, reading and checking the files of a data set.
 *
 * Formats are told by the file name's ending:
 *
 *		.f32 .f16 .u8 .i32		raw little-endian rows, no header
 *		.fvecs .bvecs .ivecs	each row preceded by its length (int32)
 *		.hdf5 .h5				ann-benchmarks (train, test, neighbors)
 */
#define _GNU_SOURCE
#include "dataset.h"
#include "fail.h"
#include "progress.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/*
 * Two distances this close (relatively) are a tie: the files' makers and the
 * database add up in different orders and precisions.
 */
#define ORDER_SLACK 1e-3

typedef enum
{
	FORMAT_UNKNOWN,
	FORMAT_F32,
	FORMAT_F16,
	FORMAT_U8,
	FORMAT_I32,
	FORMAT_FVECS,
	FORMAT_BVECS,
	FORMAT_IVECS,
	FORMAT_HDF5
} format_t;

static const struct
{
	const char *ending;
	format_t	format;
	size_t		element;		/* bytes of an element */
	bool		headed;			/* rows carry their length */
}			formats[] =
{
	{".f32", FORMAT_F32, 4, false},
	{".f16", FORMAT_F16, 2, false},
	{".u8", FORMAT_U8, 1, false},
	{".i32", FORMAT_I32, 4, false},
	{".fvecs", FORMAT_FVECS, 4, true},
	{".bvecs", FORMAT_BVECS, 1, true},
	{".ivecs", FORMAT_IVECS, 4, true},
	{".hdf5", FORMAT_HDF5, 0, false},
	{".h5", FORMAT_HDF5, 0, false},
};
#define NFORMATS (sizeof(formats) / sizeof(formats[0]))

static bool
ends_with(const char *s, const char *ending)
{
	size_t		n = strlen(s),
				m = strlen(ending);

	return n >= m && strcmp(s + n - m, ending) == 0;
}

static int
format_index(const char *path)
{
	for (size_t i = 0; i < NFORMATS; i++)
		if (ends_with(path, formats[i].ending))
			return (int) i;
	return -1;
}

metric_t
metric_from_name(const char *name)
{
	if (strcmp(name, "l2") == 0 || strcmp(name, "euclidean") == 0)
		return METRIC_L2;
	if (strcmp(name, "cosine") == 0 || strcmp(name, "angular") == 0)
		return METRIC_COSINE;
	if (strcmp(name, "ip") == 0 || strcmp(name, "dot") == 0)
		return METRIC_IP;
	return METRIC_UNKNOWN;
}

const char *
metric_name(metric_t metric)
{
	switch (metric)
	{
		case METRIC_L2:
			return "l2";
		case METRIC_COSINE:
			return "cosine";
		case METRIC_IP:
			return "ip";
		case METRIC_UNKNOWN:
			break;
	}
	return "unknown";
}

const float *
matrix_row(const matrix_t *m, size_t row)
{
	return m->values + row * m->dim;
}

static float
half_to_float(uint16_t h)
{
	int			exponent = (h >> 10) & 31;
	float		fraction = (float) (h & 1023);
	float		v;

	if (exponent == 31)
		v = fraction != 0 ? NAN : INFINITY;
	else if (exponent == 0)
		v = ldexpf(fraction, -24);
	else
		v = ldexpf(1024 + fraction, exponent - 25);
	return (h & 0x8000) ? -v : v;
}

static uint32_t
get_u32(const unsigned char *p)
{
	return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 |
		(uint32_t) p[3] << 24;
}

static float
get_float(const unsigned char *p)
{
	uint32_t	u = get_u32(p);
	float		f;

	memcpy(&f, &u, sizeof(f));
	return f;
}

static uint64_t
file_size(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		die("cannot open \"%s\": %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		die("\"%s\" is not a file", path);
	return (uint64_t) st.st_size;
}

/*
 * Calls back for each row of a file, after checking that the file is a whole
 * number of rows.  *dim is in (0: take it from the rows' headers) and out.
 */
typedef void (*row_sink) (void *arg, size_t row, const unsigned char *elements,
						  format_t format, uint32_t dim);

static size_t
read_rows(const char *path, uint32_t *dim, size_t max_rows,
		  void (*size_known) (void *arg, size_t rows, uint32_t dim),
		  row_sink sink, void *arg)
{
	int			fi = format_index(path);
	uint64_t	size = file_size(path);
	uint64_t	row_bytes,
				rows;
	size_t		header;
	unsigned char *buffer;
	FILE	   *f;

	if (fi < 0 || formats[fi].format == FORMAT_HDF5)
		die("\"%s\": the name does not end in one of .f32 .f16 .u8 .i32 .fvecs .bvecs .ivecs",
			path);
	f = fopen(path, "rb");
	if (f == NULL)
		die("cannot open \"%s\": %s", path, strerror(errno));
	header = formats[fi].headed ? 4 : 0;
	if (header > 0)
	{
		unsigned char head[4];
		uint32_t	found;

		if (fread(head, 1, 4, f) != 4)
			die("\"%s\" is too short for the length of its first row", path);
		rewind(f);
		found = get_u32(head);
		if (*dim != 0 && *dim != found)
			die("\"%s\" has rows of %u elements where %u were expected", path, found, *dim);
		*dim = found;
	}
	if (*dim == 0)
		die("\"%s\" has no header and its name tells no dimension; give --dim", path);
	if (*dim > DATASET_MAX_DIM)
		die("\"%s\" would have rows of %u elements, more than %d; is --dim right and the format the one of its name?",
			path, *dim, DATASET_MAX_DIM);
	row_bytes = header + (uint64_t) *dim * formats[fi].element;
	if (size == 0 || size % row_bytes != 0)
		die("\"%s\" is %llu bytes, not a whole number of rows of %llu bytes (%u elements); give the right --dim",
			path, (unsigned long long) size, (unsigned long long) row_bytes, *dim);
	rows = size / row_bytes;
	if (rows > INT32_MAX)
		die("\"%s\" has %llu rows; ids here are 32 bits, use --max-rows", path,
			(unsigned long long) rows);
	if (max_rows != 0 && rows > max_rows)
		rows = max_rows;
	size_known(arg, (size_t) rows, *dim);

	buffer = alloc_array((size_t) row_bytes, 1);
	for (size_t i = 0; i < rows; i++)
	{
		if (fread(buffer, 1, (size_t) row_bytes, f) != row_bytes)
			die("\"%s\": cannot read row %zu: %s", path, i,
				ferror(f) ? strerror(errno) : "the file became shorter");
		if (header > 0 && get_u32(buffer) != *dim)
			die("\"%s\": row %zu has %u elements, the first row has %u", path, i,
				get_u32(buffer), *dim);
		sink(arg, i, buffer + header, formats[fi].format, *dim);
	}
	free(buffer);
	fclose(f);
	return (size_t) rows;
}

typedef struct
{
	const char *path;
	matrix_t   *m;
} matrix_sink;

static void
matrix_size(void *arg, size_t rows, uint32_t dim)
{
	matrix_sink *s = arg;
	size_t		cells;

	if (__builtin_mul_overflow(rows, (size_t) dim, &cells))
		die("\"%s\": %zu rows of %u do not fit into memory", s->path, rows, dim);
	s->m->rows = rows;
	s->m->dim = dim;
	s->m->values = alloc_array(cells, sizeof(float));
}

static void
matrix_add(void *arg, size_t row, const unsigned char *e, format_t format, uint32_t dim)
{
	matrix_sink *s = arg;
	float	   *out = s->m->values + row * dim;

	for (uint32_t j = 0; j < dim; j++)
	{
		switch (format)
		{
			case FORMAT_F32:
			case FORMAT_FVECS:
				out[j] = get_float(e + 4 * (size_t) j);
				break;
			case FORMAT_F16:
				out[j] = half_to_float((uint16_t) (e[2 * (size_t) j] | e[2 * (size_t) j + 1] << 8));
				break;
			case FORMAT_U8:
			case FORMAT_BVECS:
				out[j] = (float) e[j];
				break;
			default:
				die("\"%s\" holds integers, not vectors; give it as --truth", s->path);
		}
		if (!isfinite(out[j]))
			die("\"%s\": row %zu, element %u is not a finite number", s->path, row, j);
	}
}

static void
read_matrix(const char *path, uint32_t dim, size_t max_rows, matrix_t *m)
{
	matrix_sink sink = {path, m};

	read_rows(path, &dim, max_rows, matrix_size, matrix_add, &sink);
}

typedef struct
{
	const char *path;
	int32_t    *ids;
	size_t		rows;
	uint32_t	k;
} truth_sink;

static void
truth_size(void *arg, size_t rows, uint32_t k)
{
	truth_sink *s = arg;

	s->rows = rows;
	s->k = k;
	s->ids = alloc_array(rows * k, sizeof(int32_t));
}

static void
truth_add(void *arg, size_t row, const unsigned char *e, format_t format, uint32_t k)
{
	truth_sink *s = arg;

	if (format != FORMAT_I32 && format != FORMAT_IVECS)
		die("\"%s\": ground truth must be .i32 or .ivecs", s->path);
	for (uint32_t j = 0; j < k; j++)
		s->ids[row * k + j] = (int32_t) get_u32(e + 4 * (size_t) j);
}

/* "sift128" says 128; "sift" says nothing. */
static uint32_t
dim_from_name(const char *name)
{
	const char *end = name + strlen(name);
	const char *p = end;

	while (p > name && isdigit((unsigned char) p[-1]))
		p--;
	if (p == end || end - p > 5)
		return 0;
	return (uint32_t) strtoul(p, NULL, 10);
}

/* The first of prefix{.,_}part.ending that exists. */
static char *
find_file(const char *prefix, const char *const *parts, const char *const *endings)
{
	for (; *parts != NULL; parts++)
		for (const char *const *e = endings; *e != NULL; e++)
			for (const char *sep = "._"; *sep; sep++)
			{
				char	   *path = format_string("%s%c%s%s", prefix, *sep, *parts, *e);

				if (access(path, R_OK) == 0)
					return path;
				free(path);
			}
	return NULL;
}

double
exact_distance(metric_t metric, const float *a, const float *b, uint32_t dim)
{
	double		dot = 0,
				na = 0,
				nb = 0,
				l2 = 0;

	switch (metric)
	{
		case METRIC_L2:
			for (uint32_t i = 0; i < dim; i++)
			{
				double		d = (double) a[i] - b[i];

				l2 += d * d;
			}
			return sqrt(l2);
		case METRIC_IP:
			for (uint32_t i = 0; i < dim; i++)
				dot += (double) a[i] * b[i];
			return -dot;
		case METRIC_COSINE:
			for (uint32_t i = 0; i < dim; i++)
			{
				dot += (double) a[i] * b[i];
				na += (double) a[i] * a[i];
				nb += (double) b[i] * b[i];
			}
			if (na == 0 || nb == 0)
				return INFINITY;	/* indexes leave zero vectors out */
			return 1 - dot / sqrt(na * nb);
		case METRIC_UNKNOWN:
			break;
	}
	die("no metric; add one to the data set: --data PATH:l2, :cosine or :ip");
}

size_t
exact_nearest(const matrix_t *base, metric_t metric, const float *query,
			  const uint8_t *keep, size_t k, int32_t *ids, double *distances)
{
	size_t		n = 0;

	/* Insertion into a sorted list: nearly every row fails the first test. */
	for (size_t row = 0; row < base->rows; row++)
	{
		double		d;
		size_t		at;

		if (keep != NULL && !keep[row])
			continue;
		d = exact_distance(metric, query, matrix_row(base, row), base->dim);
		if (n == k && !(d < distances[n - 1]))
			continue;
		if (n < k)
			n++;
		for (at = n - 1; at > 0 && distances[at - 1] > d; at--)
		{
			distances[at] = distances[at - 1];
			ids[at] = ids[at - 1];
		}
		distances[at] = d;
		ids[at] = (int32_t) row;
	}
	return n;
}

static void
compute_truth(dataset_t *set, size_t k)
{
	if (k > set->base.rows)
		k = set->base.rows;
	set->truth_k = k;
	set->truth_computed = true;
	set->truth = alloc_array(set->query.rows * k, sizeof(int32_t));
	set->truth_distance = alloc_array(set->query.rows * k, sizeof(double));
	progress_begin("exact neighbours", set->query.rows);
	for (size_t q = 0; q < set->query.rows; q++)
	{
		exact_nearest(&set->base, set->metric, matrix_row(&set->query, q), NULL, k,
					  set->truth + q * k, set->truth_distance + q * k);
		progress_at(q);
	}
	progress_end();
}

/* Distances of the given answers; refuses answers that cannot be right. */
static void
check_truth(dataset_t *set, const char *where)
{
	size_t		k = set->truth_k;

	set->truth_distance = alloc_array(set->query.rows * k, sizeof(double));
	for (size_t q = 0; q < set->query.rows; q++)
		for (size_t j = 0; j < k; j++)
		{
			int32_t		id = set->truth[q * k + j];
			double	   *d = &set->truth_distance[q * k + j];

			if (id < 0 || (size_t) id >= set->base.rows)
				die("%s: query %zu names row %d, but the base has rows 0 to %zu; do the files belong together?",
					where, q, id, set->base.rows - 1);
			*d = exact_distance(set->metric, matrix_row(&set->query, q),
								matrix_row(&set->base, (size_t) id), set->base.dim);
			if (j > 0 && d[-1] > *d + ORDER_SLACK * (fabs(*d) + 1e-3))
				die("%s: the answers of query %zu are not in order of %s distance (%g before %g); is the metric right?",
					where, q, metric_name(set->metric), d[-1], *d);
		}

	/* The order may be right and the rows still not the nearest ones. */
	for (size_t i = 0; i < 5 && i < set->query.rows; i++)
	{
		size_t		q = i * set->query.rows / 5;
		int32_t		id;
		double		d;

		if (set->query.rows < 5)
			q = i;
		exact_nearest(&set->base, set->metric, matrix_row(&set->query, q), NULL, 1, &id, &d);
		if (d < set->truth_distance[q * k] - ORDER_SLACK * (fabs(d) + 1e-3))
			die("%s: query %zu is nearer to row %d (%g) than to its first answer (%g); do the files belong together?",
				where, q, id, d, set->truth_distance[q * k]);
	}
}

static void
read_raw_truth(const char *path, size_t queries, truth_sink *t)
{
	uint32_t	k = 0;
	int			fi = format_index(path);

	if (fi >= 0 && formats[fi].format == FORMAT_I32)
	{
		/* No header: 100 a query is the custom; otherwise what fits. */
		uint64_t	cells = file_size(path) / 4;

		k = 100;
		if (cells % k != 0 || cells / k != queries)
		{
			if (queries == 0 || cells % queries != 0)
				die("\"%s\" has %llu numbers, not a whole number for each of %zu queries",
					path, (unsigned long long) cells, queries);
			k = (uint32_t) (cells / queries);
		}
	}
	t->path = path;
	read_rows(path, &k, 0, truth_size, truth_add, t);
}

void
dataset_open(dataset_t *set, const dataset_request_t *request)
{
	static const char *const base_parts[] = {"base", "train", NULL};
	static const char *const query_parts[] = {"query", "test", NULL};
	static const char *const truth_parts[] = {"gt", "groundtruth", "truth", NULL};
	static const char *const vector_endings[] = {".f32", ".f16", ".u8", ".fvecs", ".bvecs", NULL};
	static const char *const truth_endings[] = {".i32", ".ivecs", NULL};
	const char *slash,
			   *truth_from = NULL;
	truth_sink	truth = {0};
	metric_t	file_metric = METRIC_UNKNOWN;
	char	   *dot;
	size_t		file_rows;

	memset(set, 0, sizeof(*set));
	slash = strrchr(request->path, '/');
	set->name = copy_string(slash != NULL ? slash + 1 : request->path);
	progress_begin("reading", 0);

	if (ends_with(request->path, ".hdf5") || ends_with(request->path, ".h5"))
	{
		size_t		k = 0;

		dot = strrchr(set->name, '.');
		*dot = '\0';
		read_hdf5(request->path, &set->base, &set->query, &truth.ids, &truth.rows, &k,
				  &file_metric);
		truth.k = (uint32_t) k;
		truth_from = request->path;
	}
	else
	{
		const char *base = request->base_file,
				   *query = request->query_file;
		uint32_t	dim = request->dim ? request->dim : dim_from_name(set->name);

		if (base == NULL && (base = find_file(request->path, base_parts, vector_endings)) == NULL)
			die("no base vectors: \"%s\" with .base or _base and .f32, .f16, .u8, .fvecs or .bvecs added is not a readable file; give --base FILE",
				request->path);
		if (query == NULL && (query = find_file(request->path, query_parts, vector_endings)) == NULL)
			die("no queries: \"%s\" with .query or _query and .f32, .f16, .u8, .fvecs or .bvecs added is not a readable file; give --query FILE",
				request->path);
		truth_from = request->truth_file;
		if (truth_from == NULL)
			truth_from = find_file(request->path, truth_parts, truth_endings);
		read_matrix(base, dim, 0, &set->base);
		read_matrix(query, set->base.dim, 0, &set->query);
		if (truth_from != NULL)
			read_raw_truth(truth_from, set->query.rows, &truth);
	}
	progress_end();

	set->metric = request->metric != METRIC_UNKNOWN ? request->metric : file_metric;
	if (set->metric == METRIC_UNKNOWN)
		die("\"%s\" does not say its metric; write --data %s:l2, :cosine or :ip",
			request->path, request->path);
	if (set->query.dim != set->base.dim)
		die("\"%s\": base vectors have %u elements, queries %u", request->path,
			set->base.dim, set->query.dim);
	if (truth.ids != NULL && truth.rows != set->query.rows)
		die("\"%s\" answers %zu queries, but there are %zu", truth_from, truth.rows,
			set->query.rows);

	file_rows = set->base.rows;
	if (request->max_rows != 0 && set->base.rows > request->max_rows)
		set->base.rows = request->max_rows;
	if (request->max_queries != 0 && set->query.rows > request->max_queries)
		set->query.rows = request->max_queries;

	/* Answers for all rows are no answers for the first few. */
	if (truth.ids != NULL && set->base.rows == file_rows && truth.k >= request->min_truth_k)
	{
		set->truth = truth.ids;
		set->truth_k = truth.k;
		check_truth(set, truth_from);
	}
	else
	{
		if (truth.ids != NULL && set->base.rows == file_rows)
			warn("\"%s\" has %u answers a query, fewer than the %zu needed; computing them",
				 truth_from, truth.k, request->min_truth_k);
		free(truth.ids);
		compute_truth(set, request->min_truth_k > 100 ? request->min_truth_k : 100);
	}
	if (set->truth_k < request->min_truth_k)
		die("\"%s\" has only %zu rows, fewer than the %zu neighbours to ask for",
			request->path, set->base.rows, request->min_truth_k);
}

void
dataset_free(dataset_t *set)
{
	free(set->name);
	free(set->base.values);
	free(set->query.values);
	free(set->truth);
	free(set->truth_distance);
	memset(set, 0, sizeof(*set));
}
