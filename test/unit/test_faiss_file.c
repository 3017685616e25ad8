/*
 * test_faiss_file.c
 *		Files that faiss has written: the neighbours it finds in them are found
 *		by a plain search over what was read, and no part of a file is a file.
 *
 * The files of ../faiss/files are always there, those of build/faiss where faiss is
 * installed.  ../faiss/write_files.cpp writes both, but for those that need a newer
 * faiss, by ../faiss/write_files.py.
 */
#include <dirent.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/distance.h"
#include "core/faiss_file.h"
#include "unit.h"

#define SMALL_FILES "../faiss/files"
#define LARGE_FILES "build/faiss"

/* A result of a search. */
typedef struct hit
{
	double		key;			/* ascending */
	double		distance;
	int64_t		id;
} hit;

static uint8_t *
read_whole(const char *path, size_t *size)
{
	FILE	   *f = fopen(path, "rb");
	uint8_t    *data;
	long		length;

	*size = 0;
	if (f == NULL)
		return NULL;
	fseek(f, 0, SEEK_END);
	length = ftell(f);
	rewind(f);
	data = malloc(length > 0 ? (size_t) length : 1);
	*size = fread(data, 1, (size_t) length, f);
	fclose(f);
	return data;
}

/* The floats a code stands for; binary ones stay bits. */
static void
decode(const knn_faiss_file *file, const uint8_t *code, const uint8_t *centroid, float *x)
{
	const knn_faiss_codes *codes = &file->codes;
	int			d = file->dimension;

	for (int i = 0; i < d; i++)
	{
		switch (codes->encoding)
		{
			case KNN_FAISS_FLOAT:
				x[i] = knn_faiss_f32(code, i);
				break;
			case KNN_FAISS_FP16:
				x[i] = knn_half_to_float((knn_half) (code[2 * i] | code[2 * i + 1] << 8));
				break;
			case KNN_FAISS_UINT8:
				x[i] = code[i];
				break;
			case KNN_FAISS_INT8:
				x[i] = (float) code[i] - 128;
				break;
			case KNN_FAISS_PQ:
				{
					int			width = d / (int) codes->pq_m;
					int			part = i / width;
					uint64_t	at = (uint64_t) part * codes->pq_bits;
					uint32_t	value = 0;

					for (uint32_t b = 0; b < codes->pq_bits; b++, at++)
						value |= (uint32_t) (code[at / 8] >> (at % 8) & 1) << b;
					x[i] = knn_faiss_f32(codes->codebooks,
										 (((uint64_t) part << codes->pq_bits) + value) * width + i % width);
					break;
				}
			default:
				x[i] = NAN;
		}
		if (centroid)
			x[i] += knn_faiss_f32(centroid, i);
	}
}

static double
distance_bits(const uint8_t *a, const uint8_t *b, int bytes)
{
	int			n = 0;

	for (int i = 0; i < bytes; i++)
		n += __builtin_popcount(a[i] ^ b[i]);
	return n;
}

static double
distance_floats(const knn_faiss_file *file, const uint8_t *query, const float *x)
{
	double		sum = 0;

	for (int i = 0; i < file->dimension; i++)
	{
		double		q = knn_faiss_f32(query, i);

		sum += file->metric == KNN_FAISS_L2 ? (q - x[i]) * (q - x[i]) : q * x[i];
	}
	return sum;
}

static hit
measure(const knn_faiss_file *file, const uint8_t *query, const uint8_t *code,
		const uint8_t *centroid, int64_t id)
{
	hit			h;

	if (file->binary)
		h.distance = distance_bits(query, code, file->dimension / 8);
	else
	{
		float	   *x = malloc(file->dimension * sizeof(float));

		decode(file, code, centroid, x);
		h.distance = distance_floats(file, query, x);
		free(x);
	}
	h.key = file->binary || file->metric == KNN_FAISS_L2 ? h.distance : -h.distance;
	h.id = id;
	return h;
}

static int
compare_hits(const void *a, const void *b)
{
	const hit  *x = a;
	const hit  *y = b;

	return x->key < y->key ? -1 : x->key > y->key;
}

/* Nodes that a search of any width can reach: all, or those level 0 leads to. */
static uint32_t
reachable(const knn_faiss_file *file, uint8_t *seen)
{
	const knn_faiss_hnsw *g = &file->hnsw;
	uint32_t   *queue;
	uint32_t	head = 0;
	uint32_t	tail = 0;

	if (g->base_level_only)
	{
		memset(seen, 1, file->ntotal);
		return (uint32_t) file->ntotal;
	}
	queue = malloc((file->ntotal + 1) * sizeof(*queue));
	queue[tail++] = (uint32_t) g->entry_point;
	seen[g->entry_point] = 1;
	while (head < tail)
	{
		uint32_t	node = queue[head++];
		uint64_t	first = knn_faiss_u64(g->offsets, node);
		uint64_t	end = first + (uint64_t) knn_faiss_i32(g->level_neighbours, 1);

		for (uint64_t i = first; i < end; i++)
		{
			int32_t		next = knn_faiss_i32(g->neighbours, i);

			if (next >= 0 && !seen[next])
			{
				seen[next] = 1;
				queue[tail++] = (uint32_t) next;
			}
		}
	}
	free(queue);
	return tail;
}

/* Is this list among the nprobe nearest to the query? */
static bool
probed(const knn_faiss_file *file, const uint8_t *query, uint64_t number)
{
	const knn_faiss_ivf *ivf = &file->ivf;
	knn_faiss_file centroids = *file;
	uint64_t	nearer = 0;
	size_t		size = file->binary ? (size_t) file->dimension / 8 : 4 * (size_t) file->dimension;
	hit			own;

	centroids.codes.encoding = file->binary ? KNN_FAISS_BITS : KNN_FAISS_FLOAT;
	own = measure(&centroids, query, ivf->centroids + number * size, NULL, (int64_t) number);
	for (uint64_t i = 0; i < ivf->nlist; i++)
	{
		hit			other = measure(&centroids, query, ivf->centroids + i * size, NULL, (int64_t) i);

		if (other.key < own.key || (other.key == own.key && i < number))
			nearer++;
	}
	return nearer < ivf->nprobe;
}

/* All hits of a query, nearest first. */
static uint64_t
search(const knn_faiss_file *file, const uint8_t *query, hit *hits)
{
	uint64_t	n = 0;

	if (file->structure == KNN_FAISS_IVF)
	{
		knn_faiss_list list;

		knn_faiss_begin_lists(file, &list);
		while (knn_faiss_next_list(file, &list))
		{
			const uint8_t *centroid = file->ivf.by_residual ?
				file->ivf.centroids + list.number * 4 * (uint64_t) file->dimension : NULL;

			if (!probed(file, query, list.number))
				continue;
			for (uint64_t i = 0; i < list.count; i++)
				hits[n++] = measure(file, query, list.codes + i * file->codes.size, centroid,
									knn_faiss_i64(list.ids, i));
		}
	}
	else
	{
		uint8_t    *seen = calloc(file->ntotal + 1, 1);

		if (file->structure == KNN_FAISS_HNSW)
			reachable(file, seen);
		else
			memset(seen, 1, file->ntotal);
		for (uint64_t i = 0; i < file->ntotal; i++)
			if (seen[i])
				hits[n++] = measure(file, query, file->codes.data + i * file->codes.size, NULL,
									file->ids ? knn_faiss_i64(file->ids, i) : (int64_t) i);
		free(seen);
	}
	qsort(hits, n, sizeof(*hits), compare_hits);
	return n;
}

/* Every answer of faiss, at its rank or among those as near. */
static void
check_answers(const knn_faiss_file *file, const uint8_t *answers, size_t size)
{
	int32_t		queries = knn_faiss_i32(answers, 1);
	int32_t		k = knn_faiss_i32(answers, 2);
	int32_t		bytes = knn_faiss_i32(answers, 3);
	const uint8_t *query = answers + 16;
	const uint8_t *answer = query + (size_t) queries * bytes;
	hit		   *hits = malloc((file->ntotal + 1) * sizeof(*hits));

	UNIT_CHECK(file->binary == (knn_faiss_i32(answers, 0) == 1), "binary");
	UNIT_CHECK(size == 16 + (size_t) queries * (bytes + 12 * k), "%zu bytes of answers", size);
	for (int32_t q = 0; q < queries; q++, query += bytes, answer += 12 * k)
	{
		uint64_t	n = search(file, query, hits);

		for (int32_t i = 0; i < k; i++)
		{
			int64_t		id = knn_faiss_i64(answer, i);
			double		distance = knn_faiss_f32(answer + 8 * k, i);
			double		tolerance = 1e-4 * (1 + fabs(distance));
			bool		found = false;

			if (id == -1)
			{
				UNIT_CHECK((uint64_t) i >= n, "query %d: faiss finds %d, not %d", q, i, (int) n);
				continue;
			}
			if (!UNIT_CHECK((uint64_t) i < n, "query %d: only %d found", q, (int) n))
				continue;
			UNIT_CHECK(fabs(hits[i].distance - distance) <= tolerance,
					   "query %d, rank %d: distance %g, of faiss %g", q, i,
					   hits[i].distance, distance);
			for (uint64_t j = 0; j < n && !found; j++)
				found = hits[j].id == id && fabs(hits[j].distance - distance) <= tolerance;
			UNIT_CHECK(found, "query %d, rank %d: id %lld", q, i, (long long) id);
		}
	}
	free(hits);
}

static void
test_file(const char *directory, const char *name)
{
	char		path[512];
	uint8_t    *data;
	uint8_t    *answers;
	size_t		size;
	size_t		answers_size;
	size_t		step;
	knn_faiss_file file;
	knn_faiss_error error;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	unit_case("%s", path);
	data = read_whole(path, &size);
	if (UNIT_CHECK(knn_faiss_parse(data, size, &file, &error), "%s at %zu", error.message, error.offset))
	{
		strcpy(strrchr(path, '.'), ".answers");
		answers = read_whole(path, &answers_size);
		if (answers)
			check_answers(&file, answers, answers_size);
		else
			UNIT_CHECK(file.ntotal == 0 || file.codes.encoding == KNN_FAISS_NO_VECTORS,
					   "no answers");
		free(answers);
	}
	/* a part, in memory of its own for the address sanitizer; never the whole */
	step = size < 2000 ? 1 : size / 1000;
	for (size_t part = 0; part < size; part += step)
	{
		uint8_t    *copy = malloc(part + 1);

		memcpy(copy + 1, data, part);
		UNIT_CHECK(!knn_faiss_parse(copy + 1, part, &file, &error), "%zu bytes accepted", part);
		UNIT_CHECK(error.message[0] != '\0' && error.offset <= part, "message");
		free(copy);
	}
	free(data);
}

static int
test_directory(const char *directory)
{
	struct dirent **entries;
	int			n = scandir(directory, &entries, NULL, alphasort);
	int			found = 0;

	for (int i = 0; i < n; i++)
	{
		const char *dot = strrchr(entries[i]->d_name, '.');

		if (dot && strcmp(dot, ".faiss") == 0)
		{
			test_file(directory, entries[i]->d_name);
			found++;
		}
		free(entries[i]);
	}
	if (n >= 0)
		free(entries);
	return found;
}

/* A change of one number, and the message for it. */
static void
test_message(const char *name, size_t offset, uint64_t value, size_t bytes, const char *message)
{
	char		path[512];
	uint8_t    *data;
	size_t		size;
	knn_faiss_file file;
	knn_faiss_error error;

	unit_case("%s: %s", name, message);
	snprintf(path, sizeof(path), "%s/%s.faiss", SMALL_FILES, name);
	data = read_whole(path, &size);
	if (UNIT_CHECK(data != NULL && offset + bytes <= size, "%s", path))
	{
		for (size_t i = 0; i < bytes; i++)
			data[offset + i] = (uint8_t) (value >> 8 * i);
		UNIT_CHECK(!knn_faiss_parse(data, size, &file, &error), "accepted");
		UNIT_CHECK(strcmp(error.message, message) == 0, "%s", error.message);
	}
	free(data);
}

int
main(void)
{
	unit_case("the files of the repository");
	UNIT_CHECK(test_directory(SMALL_FILES) > 0, "none in %s", SMALL_FILES);
	if (test_directory(LARGE_FILES) == 0)
	{
		unit_case("files of faiss");
		unit_skip("faiss is not installed");
	}
	test_message("flat_l2", 0, 0x58585858, 4, "\"XXXX\" is not a known kind of index");
	test_message("flat_l2", 4, 0, 4, "the dimension is 0, which is not between 1 and 1048576");
	test_message("flat_l2", 8, 15, 8, "vectors are 56 instead of 60");
	test_message("flat_l2", 32, 0, 1, "the index is not trained");
	test_message("flat_l2", 37, UINT64_MAX, 8,
				 "vectors are said to be 18446744073709551615, but only 224 bytes are left");
	test_message("ivf_flat", 37, 5, 8, "an inner index has 4 vectors instead of 5");
	test_message("sq_fp16", 37, 7, 4,
				 "the scalar quantizer has type 7, which is none of fp16 (4), 8bit_direct (5) and 8bit_direct_signed (8)");
	test_message("cagra_float", 37, 0x50664849, 4, "\"IHfP\" is not a known kind of index");
	test_message("cagra_float", 80, 4, 4, "the type of numbers is 4, which is not between 0 and 3");
	return unit_done("test_faiss_file");
}
