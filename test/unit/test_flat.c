/*
 * test_flat.c
 *		The flat graph: addresses, the same answers as the arrays of a build, dead
 *		nodes, damage, growth, and links that change while they are read.
 */
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "core/flat_graph.h"
#include "core/graph_build.h"
#include "core/rotation.h"
#include "unit.h"

#define UNIT_BYTES 65536
#define NQUERIES 30

/* ---- a flat copy of a built graph ---- */

typedef struct Flat
{
	knn_flat_graph graph;
	knn_graph  *built;
	char	  **units[4];
	uint32_t	nunits[4];
	uint32_t	grow_to;		/* what grow sets nnodes to */
	uint32_t	grown;
} Flat;

/* Units lie apart, and in no order. */
static void
make_column(Flat *flat, int which, knn_flat_column *column, uint32_t stride, uint32_t n)
{
	uint32_t	per_unit = UNIT_BYTES / stride;
	uint32_t	nunits = n / per_unit + 1;

	flat->units[which] = unit_allocate(sizeof(char *) * nunits);
	flat->nunits[which] = nunits;
	for (uint32_t i = nunits; i-- > 0;)
	{
		flat->units[which][i] = aligned_alloc(128, UNIT_BYTES);
		memset(flat->units[which][i], 0, UNIT_BYTES);
	}
	knn_flat_column_init(column, (const char *const *) flat->units[which], stride, per_unit);
}

static bool
upper_item(void *owner, uint32_t id, uint32_t level, uint32_t *item)
{
	Flat	   *flat = owner;

	if (level > flat->built->levels[id])
		return false;
	*item = flat->built->upper_first[id] + level - 1;
	return true;
}

static void
grow(void *owner, knn_flat_graph *graph)
{
	Flat	   *flat = owner;

	flat->grown++;
	graph->nnodes = flat->grow_to;
}

/* An item that may be written */
static void *
item_of(const knn_flat_column *column, uint32_t id)
{
	return (void *) (uintptr_t) knn_flat_item(column, id);
}

static void
make_flat(Flat *flat, knn_graph *built)
{
	uint32_t	m = built->m;
	uint32_t	bytes = knn_code_bytes(built->encoder.encoding, built->encoder.dim);

	memset(flat, 0, sizeof(*flat));
	flat->built = built;
	flat->graph.m = m;
	flat->graph.nnodes = built->n;
	flat->graph.nupper = built->nupper;
	flat->graph.upper_item = upper_item;
	flat->graph.owner = flat;
	make_column(flat, 0, &flat->graph.links, 8 * m, built->n);
	make_column(flat, 1, &flat->graph.head, sizeof(knn_flat_head), built->n);
	make_column(flat, 2, &flat->graph.code, knn_flat_code_stride(bytes), built->n);
	make_column(flat, 3, &flat->graph.upper, 4 * m, built->nupper);
	for (uint32_t id = 0; id < built->n; id++)
	{
		const uint32_t *row = knn_graph_links(built, id);
		uint32_t   *links = item_of(&flat->graph.links, id);

		for (uint32_t i = 0; i < row[0]; i++)
			links[i] = row[1 + i] + 1;
		for (uint32_t level = 1; level <= built->levels[id]; level++)
		{
			row = knn_graph_upper(built, id, level);
			links = item_of(&flat->graph.upper, built->upper_first[id] + level - 1);
			for (uint32_t i = 0; i < row[0]; i++)
				links[i] = row[1 + i] + 1;
		}
		((knn_flat_head *) item_of(&flat->graph.head, id))->factors = built->factors[id];
		memcpy(item_of(&flat->graph.code, id), knn_graph_code(built, id), bytes);
	}
}

static void
free_flat(Flat *flat)
{
	for (int which = 0; which < 4; which++)
	{
		for (uint32_t i = 0; i < flat->nunits[which]; i++)
			free(flat->units[which][i]);
		free(flat->units[which]);
	}
}

/* ---- data ---- */

static void
fill(uint8_t *v, const knn_encoder *encoder, uint64_t *state)
{
	uint32_t	dim = encoder->dim;
	uint64_t	centre = 1 + unit_random(state) % 30;

	for (uint32_t j = 0; j < dim; j++)
	{
		double		x = 2 * unit_random_float(&centre) + unit_random_float(state);

		if (encoder->encoding == KNN_ENCODING_BYTE)
			((int8_t *) v)[j] = (int8_t) (40 * x);
		else if (encoder->encoding == KNN_ENCODING_BINARY)
			v[j / 8] = (uint8_t) (v[j / 8] << 1 | (x > 0));
		else
			((float *) (void *) v)[j] = (float) x;
	}
}

typedef struct Set
{
	knn_graph	graph;
	uint8_t		signs[KNN_ROTATION_SIGN_BYTES(1024)];
	uint8_t    *queries;
	size_t		width;			/* of a query */
} Set;

static void
make_set(Set *set, uint32_t n, uint32_t dim, knn_space space, knn_encoding encoding, uint32_t m)
{
	uint64_t	state = 77;
	uint8_t    *v;

	memset(set, 0, sizeof(*set));
	set->width = knn_encoding_is_float(encoding) ? 4 * dim : dim;
	v = unit_allocate(set->width);
	set->queries = unit_allocate(set->width * NQUERIES);
	memset(v, 0, set->width);
	memset(set->queries, 0, set->width * NQUERIES);
	knn_rotation_init(set->signs, dim, 3);
	set->graph.m = m;
	set->graph.ef_construction = 60;
	set->graph.seed = 11;
	set->graph.encoder = (knn_encoder) {
		dim, space, encoding,
		knn_encoding_is_float(encoding) && space != KNN_SPACE_L1 && space != KNN_SPACE_LINF ? set->signs : NULL,
		NULL, knn_kernels_get(), NULL, NULL
	};
	set->graph.allocator = knn_malloc_allocator;
	if (knn_graph_init(&set->graph, n) != KNN_OK)
		abort();
	for (uint32_t i = 0; i < n; i++)
	{
		fill(v, &set->graph.encoder, &state);
		if (knn_graph_add(&set->graph, v) != KNN_OK)
			abort();
	}
	for (uint32_t i = 0; i < NQUERIES; i++)
		fill(set->queries + i * set->width, &set->graph.encoder, &state);
	free(v);
}

static void
free_set(Set *set)
{
	knn_graph_free(&set->graph);
	free(set->queries);
}

static void
prepare(Set *set, uint32_t query)
{
	knn_query_prepare(&set->graph.scratch.query, &set->graph.encoder, set->queries + query * set->width,
					  set->graph.scratch.q8, set->graph.scratch.qf);
}

/* ---- searches ---- */

static void
new_search(knn_search *s, bool resumable)
{
	memset(s, 0, sizeof(*s));
	s->allocator = knn_malloc_allocator;
	s->resumable = resumable;
}

static void
init_search(knn_search *s)
{
	if (knn_search_init(s) != KNN_OK)
		abort();
}

/* fetch for the arrays of a build, so that nodes are expanded in the same order */
static knn_graph *fetch_graph;

static void
fetch_nodes(void *state, const uint32_t *ids, uint32_t n, const void **places)
{
	(void) state;
	for (uint32_t i = 0; i < n; i++)
		places[i] = &fetch_graph->factors[ids[i]];
}

static void
score_nodes(void *state, const void *const *places, uint32_t n, float *distance)
{
	(void) state;
	for (uint32_t i = 0; i < n; i++)
	{
		const knn_code_factors *factors = places[i];

		distance[i] = knn_query_score(&fetch_graph->scratch.query, factors,
									  knn_graph_code(fetch_graph, (uint32_t) (factors - fetch_graph->factors)));
	}
}

static void
flat_search(knn_search *s, knn_flat_reader *reader, Flat *flat, bool resumable)
{
	new_search(s, resumable);
	knn_flat_reader_init(reader, &flat->graph, s);
	reader->query = &flat->built->scratch.query;
	init_search(s);
}

static void
from_top(knn_search *s, const knn_graph *graph, uint32_t width)
{
	uint32_t	entry = graph->entry;

	if (graph->entry_level > 0)
		entry = knn_search_descend(s, entry, graph->entry_level, 1);
	if (knn_search_level(s, &entry, 1, 0, width) != KNN_OK)
		abort();
}

static void
check_same(const knn_search *a, const knn_search *b, uint32_t query)
{
	uint32_t	wrong = 0;

	UNIT_CHECK(a->nbeam == b->nbeam && a->nscored == b->nscored && a->nspill == b->nspill,
			   "query %u: beams of %u and %u, scored %llu and %llu, aside %u and %u",
			   query, a->nbeam, b->nbeam, (unsigned long long) a->nscored,
			   (unsigned long long) b->nscored, a->nspill, b->nspill);
	for (uint32_t i = 0; i < a->nbeam && i < b->nbeam; i++)
		wrong += a->beam[i].id != b->beam[i].id || a->beam[i].distance != b->beam[i].distance ||
			a->beam[i].flags != b->beam[i].flags;
	UNIT_CHECK(wrong == 0, "query %u: %u places of the beams differ", query, wrong);
}

/* ---- tests ---- */

static void
test_addresses(void)
{
	unit_case("flat: addresses");
	for (uint32_t per_unit = 1; per_unit <= 5000; per_unit++)
	{
		static const char *unit = (const char *) (uintptr_t) 0;
		knn_flat_column column;
		long		wrong = 0;

		knn_flat_column_init(&column, &unit, 16, per_unit);
		for (uint32_t i = 0; i < 2000; i++)
		{
			/* around multiples of the divisor, small and large */
			uint64_t	multiple = i < 1000 ? i : UINT32_MAX / per_unit - (i - 1000);
			uint64_t	id = multiple * per_unit;

			for (uint64_t x = id - (id > 0); x <= id + 1 && x <= UINT32_MAX; x++)
				wrong += (x * column.multiplier + column.addend) >> column.shift != x / per_unit;
		}
		UNIT_CHECK(wrong == 0, "%u a unit: %ld quotients are wrong", per_unit, wrong);
	}

	unit_case("flat: strides of codes");
	UNIT_CHECK(knn_flat_code_stride(1) == 16 && knn_flat_code_stride(16) == 16 &&
			   knn_flat_code_stride(17) == 32 && knn_flat_code_stride(33) == 64 &&
			   knn_flat_code_stride(65) == 96 && knn_flat_code_stride(768) == 768, "strides");
}

static void
test_same(uint32_t n, uint32_t dim, knn_space space, knn_encoding encoding, uint32_t m)
{
	Set			set;
	Flat		flat;

	unit_case("flat: as the arrays, %u nodes, dim %u, space %d, encoding %d, m %u",
			  n, dim, space, encoding, m);
	make_set(&set, n, dim, space, encoding, m);
	make_flat(&flat, &set.graph);
	for (uint32_t q = 0; q < NQUERIES; q++)
	{
		knn_search	plain;
		knn_search	s;
		knn_flat_reader reader;
		uint32_t	wrong = 0;

		prepare(&set, q);
		new_search(&plain, q % 2 == 0);
		plain.reader = set.graph.scratch.search.reader;
		plain.reader.fetch = fetch_nodes;
		plain.reader.score_fetched = score_nodes;
		fetch_graph = &set.graph;
		plain.max_degree = 2 * m;
		init_search(&plain);
		flat_search(&s, &reader, &flat, q % 2 == 0);
		from_top(&plain, &set.graph, 10 + q);
		from_top(&s, &set.graph, 10 + q);
		check_same(&s, &plain, q);
		if (q % 2 == 0)
		{
			for (uint32_t width = 50; width <= 200; width *= 2)
			{
				UNIT_CHECK(knn_search_widen(&plain, width) == KNN_OK &&
						   knn_search_widen(&s, width) == KNN_OK, "widen");
				check_same(&s, &plain, q);
			}
		}
		for (uint32_t i = 0; i < s.nbeam; i++)
			wrong += s.beam[i].error != knn_query_error(&set.graph.scratch.query,
														&set.graph.factors[s.beam[i].id],
														s.beam[i].distance);
		UNIT_CHECK(wrong == 0, "%u bounds are wrong", wrong);
		UNIT_CHECK(!reader.damaged, "damage is reported where there is none");
		knn_search_free(&plain);
		knn_search_free(&s);
	}
	free_flat(&flat);
	free_set(&set);
}

static void
test_dead(Set *set, Flat *flat)
{
	knn_search	s;
	knn_flat_reader reader;
	uint32_t	live = 0;
	uint32_t	wrong = 0;

	unit_case("flat: dead nodes");
	for (uint32_t id = 0; id < set->graph.n; id += 2)
		((knn_flat_head *) item_of(&flat->graph.head, id))->flags |= KNN_FLAT_DEAD;
	prepare(set, 0);
	flat_search(&s, &reader, flat, true);
	from_top(&s, &set->graph, 40);
	for (uint32_t i = 0; i < s.nbeam; i++)
	{
		live += !(s.beam[i].flags & KNN_CANDIDATE_DEAD);
		wrong += (s.beam[i].flags & KNN_CANDIDATE_DEAD) ? s.beam[i].id % 2 : 1 - s.beam[i].id % 2;
	}
	UNIT_CHECK(live >= 40 && wrong == 0, "%u live, %u wrong", live, wrong);
	knn_search_free(&s);
	for (uint32_t id = 0; id < set->graph.n; id += 2)
		((knn_flat_head *) item_of(&flat->graph.head, id))->flags = 0;
}

static void
test_damage(Set *set, Flat *flat)
{
	knn_search	s;
	knn_flat_reader reader;
	uint32_t	entry = set->graph.entry;
	uint32_t   *links = item_of(&flat->graph.links, entry);
	uint32_t	saved = links[1];
	uint32_t	n = set->graph.n;
	bool		beyond = false;

	prepare(set, 0);
	flat_search(&s, &reader, flat, true);
	for (int i = 0; i < 3; i++)
	{
		unit_case("flat: a link to no node, %d", i);
		links[1] = i == 0 ? n + 1 : i == 1 ? UINT32_MAX : UINT32_C(0x80000000);
		reader.damaged = false;
		if (knn_search_level(&s, &entry, 1, 0, 30) != KNN_OK)
			abort();
		UNIT_CHECK(reader.damaged && reader.damaged_node == entry && reader.damaged_level == 0,
				   "not reported");
		UNIT_CHECK(s.nbeam == 30, "%u in the beam", s.nbeam);
		for (uint32_t j = 0; j < s.nbeam; j++)
			beyond |= s.beam[j].id >= n;
		UNIT_CHECK(!beyond, "followed");
	}
	links[1] = saved;

	unit_case("flat: the same link twice");
	links[1] = links[0];
	reader.damaged = false;
	if (knn_search_level(&s, &entry, 1, 0, n) != KNN_OK)
		abort();
	for (uint32_t j = 0; j < s.nbeam; j++)
		for (uint32_t k = 0; k < j; k++)
			beyond |= s.beam[j].id == s.beam[k].id;
	UNIT_CHECK(!beyond && !reader.damaged, "found twice");
	links[1] = saved;

	unit_case("flat: a link above level 0 to a node that is not there");
	reader.damaged = false;
	links = item_of(&flat->graph.upper, set->graph.upper_first[entry] + set->graph.entry_level - 1);
	saved = links[0];
	for (uint32_t id = 0; id < n; id++)
	{
		prepare(set, 0);
		if (set->graph.levels[id] != 0)
			continue;
		links[0] = id + 1;
		knn_query_from_code(&set->graph.scratch.query, &set->graph.encoder, &set->graph.factors[id],
							knn_graph_code(&set->graph, id), set->graph.scratch.q8, set->graph.scratch.qf);
		break;
	}
	knn_search_descend(&s, entry, set->graph.entry_level, 1);
	UNIT_CHECK(reader.damaged && reader.damaged_level == set->graph.entry_level, "not reported");
	links[0] = saved;
	knn_search_free(&s);

	unit_case("flat: links to nodes that were added since");
	flat->graph.nnodes = n - 300;
	flat->graph.grow = grow;
	flat->grow_to = n;
	prepare(set, 1);
	flat_search(&s, &reader, flat, true);
	from_top(&s, &set->graph, 300);
	UNIT_CHECK(!reader.damaged && flat->grown == 1 && flat->graph.nnodes == n, "grown %u times", flat->grown);
	knn_search_free(&s);
	flat->graph.grow = NULL;
}

/* A thread that changes links to and fro */
typedef struct Writer
{
	Flat	   *flat;
	bool		stop;
} Writer;

static void *
write_links(void *argument)
{
	Writer	   *writer = argument;
	uint32_t	n = writer->flat->built->n;
	uint64_t	state = 99;

	while (!__atomic_load_n(&writer->stop, __ATOMIC_RELAXED))
	{
		uint32_t   *links = item_of(&writer->flat->graph.links, (uint32_t) (unit_random(&state) % n));
		uint32_t	slot = (uint32_t) (unit_random(&state) % (2 * writer->flat->graph.m));
		uint32_t	word = __atomic_load_n(&links[slot], __ATOMIC_RELAXED);

		__atomic_store_n(&links[slot], 1 + (uint32_t) (unit_random(&state) % n), __ATOMIC_RELAXED);
		__atomic_store_n(&links[slot], 0, __ATOMIC_RELAXED);
		__atomic_store_n(&links[slot], word, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void
test_concurrent(Set *set, Flat *flat)
{
	Writer		writer = {flat, false};
	pthread_t	thread;
	knn_search	s;
	knn_flat_reader reader;
	uint32_t	short_beams = 0;

	unit_case("flat: links that change while they are read");
	flat_search(&s, &reader, flat, true);
	if (pthread_create(&thread, NULL, write_links, &writer) != 0)
		abort();
	for (uint32_t i = 0; i < 20 * NQUERIES; i++)
	{
		prepare(set, i % NQUERIES);
		from_top(&s, &set->graph, 40);
		short_beams += s.nbeam != 40;
	}
	__atomic_store_n(&writer.stop, true, __ATOMIC_RELAXED);
	pthread_join(thread, NULL);
	UNIT_CHECK(!reader.damaged, "damage is reported where there is none");
	UNIT_CHECK(short_beams == 0, "%u beams are short", short_beams);
	knn_search_free(&s);
}

int
main(void)
{
	Set			set;
	Flat		flat;

	test_addresses();
	test_same(1, 20, KNN_SPACE_L2, KNN_ENCODING_ROTATED_8, 16);
	test_same(60, 20, KNN_SPACE_L2, KNN_ENCODING_ROTATED_8, 16);
	test_same(2000, 128, KNN_SPACE_L2, KNN_ENCODING_ROTATED_8, 16);
	test_same(2000, 100, KNN_SPACE_INNER_PRODUCT, KNN_ENCODING_ROTATED_8, 5);
	test_same(700, 768, KNN_SPACE_COSINE, KNN_ENCODING_ROTATED_8, 16);
	test_same(700, 1000, KNN_SPACE_L2, KNN_ENCODING_ROTATED_8, 16);
	test_same(1500, 150, KNN_SPACE_L2, KNN_ENCODING_ROTATED_4, 16);
	test_same(1500, 150, KNN_SPACE_L2, KNN_ENCODING_ROTATED_2, 8);
	test_same(1500, 150, KNN_SPACE_COSINE, KNN_ENCODING_ROTATED_1, 16);
	test_same(1000, 40, KNN_SPACE_L1, KNN_ENCODING_ROTATED_8, 16);
	test_same(1000, 40, KNN_SPACE_LINF, KNN_ENCODING_ROTATED_8, 16);
	test_same(1500, 150, KNN_SPACE_L2, KNN_ENCODING_BYTE, 16);
	test_same(1500, 150, KNN_SPACE_INNER_PRODUCT, KNN_ENCODING_BYTE, 16);
	test_same(1500, 150, KNN_SPACE_COSINE, KNN_ENCODING_BYTE, 16);
	test_same(1500, 600, KNN_SPACE_HAMMING, KNN_ENCODING_BINARY, 16);

	make_set(&set, 2000, 48, KNN_SPACE_L2, KNN_ENCODING_ROTATED_8, 16);
	make_flat(&flat, &set.graph);
	test_dead(&set, &flat);
	test_damage(&set, &flat);
	test_concurrent(&set, &flat);
	free_flat(&flat);
	free_set(&set);
	return unit_done("test_flat");
}
