/*
 * test_race.c
 *		core/flat_graph.c searches a graph while another thread adds nodes and
 *		replaces lists of links as src/cache/publish.c does; under ThreadSanitizer.
 *
 * What publish.c does is repeated here, since that needs a server: links, flags and
 * where upper links are in words that are stored whole; code and factors as plain
 * memory, before the first link to the node; units that are added to a chain, whose
 * length is raised after.
 *
 * A reader finds the code by the link, so that the machine keeps the two loads in
 * order (an address dependency: memory_order_consume).  ThreadSanitizer knows no
 * such thing, so the Makefile compiles this program with the words' relaxed order
 * spelled as acquire and release.  What it still reports is memory that is read without
 * being a word and without a link that was stored after it.
 *
 * BREAK_ORDER, BREAK_PLAIN: with one of these the report must come: a code is
 * written after the links to it; links are stored as plain memory.
 */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/flat_graph.h"
#include "core/graph_build.h"
#include "core/rotation.h"
#include "../unit/unit.h"

#define NODES 1200
#define FIRST 200				/* there when the readers start */
#define DIM 48
#define M 8
#define QUERIES 16
#define READERS 2
#define UNIT_BYTES 4096
#define UNITS 64
#define COLUMNS 5

#ifndef KNN_STORE_ORDER
#define KNN_STORE_ORDER __ATOMIC_RELAXED
#endif

enum
{
	LINKS, HEAD, CODE, UPPER, ROW
};

typedef struct Row
{
	uint32_t	upper;
	uint32_t	level;
} Row;

/* What is shared: a mirror. */
static char *chain[COLUMNS][UNITS];
static uint32_t nunits[COLUMNS];
static uint32_t stride[COLUMNS];
static uint32_t done;			/* the writer is */
static knn_graph built;			/* read only once the threads run */
static uint8_t signs[KNN_ROTATION_SIGN_BYTES(1024)];
static float queries[QUERIES][DIM];

/* A view of it. */
typedef struct View
{
	knn_flat_graph graph;
	knn_flat_column row;
	const char *units[COLUMNS][UNITS];
	uint32_t	known[COLUMNS];
} View;

static knn_flat_column *
column_of(View *view, int c)
{
	knn_flat_column *columns[COLUMNS] = {
		&view->graph.links, &view->graph.head, &view->graph.code, &view->graph.upper, &view->row
	};

	return columns[c];
}

/* As KnnMirrorExtendView. */
static void
extend(View *view)
{
	uint64_t	nodes = UINT32_MAX;

	for (int c = 0; c < COLUMNS; c++)
	{
		uint32_t	n = __atomic_load_n(&nunits[c], __ATOMIC_ACQUIRE);
		uint64_t	items;

		for (; view->known[c] < n; view->known[c]++)
			view->units[c][view->known[c]] = chain[c][view->known[c]];
		items = (uint64_t) n * (UNIT_BYTES / stride[c]);
		if (c == UPPER)
			view->graph.nupper = (uint32_t) items;
		else if (items < nodes)
			nodes = items;
	}
	view->graph.nnodes = (uint32_t) nodes;
}

static void
grow(void *owner, knn_flat_graph *graph)
{
	(void) graph;
	extend(owner);
}

static void *
item_of(View *view, int c, uint32_t id)
{
	return (void *) (uintptr_t) knn_flat_item(column_of(view, c), id);
}

static bool
upper_item(void *owner, uint32_t id, uint32_t level, uint32_t *item)
{
	Row		   *row = item_of(owner, ROW, id);

	*item = __atomic_load_n(&row->upper, __ATOMIC_RELAXED) + level - 1;
	return __atomic_load_n(&row->level, __ATOMIC_RELAXED) >= level;
}

static void
view_init(View *view)
{
	memset(view, 0, sizeof(*view));
	view->graph.m = M;
	view->graph.owner = view;
	view->graph.upper_item = upper_item;
	view->graph.grow = grow;
	for (int c = 0; c < COLUMNS; c++)
		knn_flat_column_init(column_of(view, c), view->units[c], stride[c],
							 UNIT_BYTES / stride[c]);
	extend(view);
}

/* ---- the writer ---- */

static void
add_units(int c, uint32_t items)
{
	uint32_t	n = nunits[c];

	while (n * (UNIT_BYTES / stride[c]) < items)
	{
		chain[c][n] = aligned_alloc(64, UNIT_BYTES);
		memset(chain[c][n], 0, UNIT_BYTES);
		n++;
		__atomic_store_n(&nunits[c], n, __ATOMIC_RELEASE);
	}
}

static void
store_word(uint32_t *to, uint32_t value)
{
#ifdef BREAK_PLAIN
	*to = value;
#else
	__atomic_store_n(to, value, KNN_STORE_ORDER);
#endif
}

/* Of a list as built, the nodes below limit; from its end, for a change. */
static void
store_links(uint32_t *to, const uint32_t *list, uint32_t room, uint32_t limit, bool backwards)
{
	uint32_t	n = 0;

	for (uint32_t i = 0; i < list[0]; i++)
	{
		uint32_t	id = list[1 + (backwards ? list[0] - 1 - i : i)];

		if (id < limit)
			store_word(&to[n++], id + 1);
	}
	while (n < room)
		store_word(&to[n++], 0);
}

static bool
has(const uint32_t *list, uint32_t id)
{
	for (uint32_t i = 0; i < list[0]; i++)
	{
		if (list[1 + i] == id)
			return true;
	}
	return false;
}

static void
store_code(View *view, uint32_t id)
{
	knn_flat_head *head = item_of(view, HEAD, id);

	head->factors = built.factors[id];
	memcpy(item_of(view, CODE, id), knn_graph_code(&built, id),
		   knn_code_bytes(built.encoder.encoding, DIM));
}

static void
link_back(View *view, uint32_t id)
{
	for (uint32_t from = 0; from < id; from++)
	{
		const uint32_t *list = knn_graph_links(&built, from);

		/* lists are replaced now and then although they stay the same */
		if (has(list, id) || (from + id) % 64 == 0)
		{
			if (id % 2 == 0)
				store_links(item_of(view, LINKS, from), list, 2 * M, id + 1, true);
			store_links(item_of(view, LINKS, from), list, 2 * M, id + 1, false);
		}
		for (uint32_t level = 1; level <= built.levels[from] && level <= built.levels[id]; level++)
		{
			list = knn_graph_upper(&built, from, level);
			if (has(list, id))
				store_links(item_of(view, UPPER, built.upper_first[from] + level - 1),
							list, M, id + 1, false);
		}
	}
}

static void
add_node(View *view, uint32_t id)
{
	Row		   *row;
	uint32_t	level = built.levels[id];

	/* KnnCacheAllocate */
	for (int c = 0; c < COLUMNS; c++)
		add_units(c, c == UPPER ? (level > 0 ? built.upper_first[id] + level : 0) : id + 1);
	extend(view);
	/* write_node */
	for (uint32_t l = 1; l <= level; l++)
		store_links(item_of(view, UPPER, built.upper_first[id] + l - 1),
					knn_graph_upper(&built, id, l), M, id, false);
	row = item_of(view, ROW, id);
	store_word(&row->upper, level > 0 ? built.upper_first[id] : 0);
	store_word(&row->level, level);
	store_word(&((knn_flat_head *) item_of(view, HEAD, id))->flags, 0);
	store_links(item_of(view, LINKS, id), knn_graph_links(&built, id), 2 * M, id, false);
#ifdef BREAK_ORDER
	link_back(view, id);
	usleep(500);
	store_code(view, id);
#else
	store_code(view, id);
	link_back(view, id);
#endif
	/* a tombstone that comes back to life */
	if (id % 8 == 0)
	{
		store_word(&((knn_flat_head *) item_of(view, HEAD, id / 2))->flags, KNN_FLAT_DEAD);
		sched_yield();
		store_word(&((knn_flat_head *) item_of(view, HEAD, id / 2))->flags, 0);
	}
}

static void *
write_nodes(void *argument)
{
	View	   *view = argument;

	for (uint32_t id = FIRST; id < NODES; id++)
	{
		add_node(view, id);
		if (id % 16 == 0)
			usleep(1000);
	}
	__atomic_store_n(&done, 1, __ATOMIC_RELEASE);
	return NULL;
}

/* ---- readers ---- */

typedef struct Reader
{
	uint32_t	entry;
	uint32_t	entry_level;
	uint32_t	searches;		/* while the writer was at it */
	uint32_t	wrong;			/* searches with an impossible answer */
	uint32_t	differ;			/* from the graph as built, at the end */
	uint32_t	most;			/* the highest id that was found */
	bool		damaged;
	pthread_t	thread;
} Reader;

static void
from_top(knn_search *s, uint32_t entry, uint32_t level)
{
	if (level > 0)
		entry = knn_search_descend(s, entry, level, 1);
	if (knn_search_level(s, &entry, 1, 0, 30) != KNN_OK)
		abort();
}

static void
search_init(knn_search *s)
{
	memset(s, 0, sizeof(*s));
	s->allocator = knn_malloc_allocator;
}

static void
search_once(Reader *reader, uint32_t number, bool last)
{
	View	   *view = malloc(sizeof(View));
	knn_flat_reader flat;
	knn_query	query;
	knn_search	s;
	int8_t		q8[4 * DIM + 256];
	float		qf[4 * DIM + 256];
	bool		wrong;

	view_init(view);
	knn_query_prepare(&query, &built.encoder, queries[number % QUERIES], q8, qf);
	search_init(&s);
	knn_flat_reader_init(&flat, &view->graph, &s);
	/* one expansion at a time, as the search that the last ones are compared with */
	if (last)
		s.reader.fetch = NULL;
	flat.query = &query;
	if (knn_search_init(&s) != KNN_OK)
		abort();
	if (last)
		from_top(&s, built.entry, built.entry_level);
	else
		from_top(&s, reader->entry, reader->entry_level);
	wrong = s.nbeam < 30;
	for (uint32_t i = 0; i < s.nbeam; i++)
	{
		wrong |= s.beam[i].id >= NODES || (i > 0 && s.beam[i - 1].distance > s.beam[i].distance);
		if (s.beam[i].id > reader->most && s.beam[i].id < NODES)
			reader->most = s.beam[i].id;
	}
	reader->wrong += wrong;
	reader->damaged |= flat.damaged;
	if (last)
	{
		knn_search	plain;

		/* the query of built.scratch is the other thread's as well: each has its own */
		knn_graph_scratch copy = built.scratch;

		search_init(&plain);
		plain.reader = built.scratch.search.reader;
		plain.reader.state = &copy;
		plain.max_degree = 2 * M;
		knn_query_prepare(&copy.query, &built.encoder, queries[number % QUERIES], q8, qf);
		if (knn_search_init(&plain) != KNN_OK)
			abort();
		from_top(&plain, built.entry, built.entry_level);
		wrong = s.nbeam != plain.nbeam;
		for (uint32_t i = 0; i < s.nbeam && !wrong; i++)
			wrong = s.beam[i].id != plain.beam[i].id;
		reader->differ += wrong;
		knn_search_free(&plain);
	}
	knn_search_free(&s);
	free(view);
}

static void *
read_nodes(void *argument)
{
	Reader	   *reader = argument;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED))
		search_once(reader, reader->searches++, false);
	/* now in order after all that was written */
	(void) __atomic_load_n(&done, __ATOMIC_ACQUIRE);
	for (uint32_t q = 0; q < QUERIES; q++)
		search_once(reader, q, true);
	return NULL;
}

/* ---- */

static void
make_graph(void)
{
	uint64_t	state = 5;
	float		v[DIM];

	knn_rotation_init(signs, DIM, 3);
	built.m = M;
	built.ef_construction = 60;
	built.seed = 11;
	/* vector instructions would hide accesses from the checker */
	built.encoder = (knn_encoder) {
		.dim = DIM, .space = KNN_SPACE_L2, .encoding = KNN_ENCODING_ROTATED_8, .signs = signs,
		.kernels = knn_kernels_by_name("scalar")
	};
	built.allocator = knn_malloc_allocator;
	if (knn_graph_init(&built, NODES) != KNN_OK)
		abort();
	for (uint32_t i = 0; i < NODES + QUERIES; i++)
	{
		for (uint32_t j = 0; j < DIM; j++)
			v[j] = (float) unit_random_float(&state);
		if (i >= NODES)
			memcpy(queries[i - NODES], v, sizeof(v));
		else if (knn_graph_add(&built, v) != KNN_OK)
			abort();
	}
	stride[LINKS] = 8 * M;
	stride[HEAD] = sizeof(knn_flat_head);
	stride[CODE] = knn_flat_code_stride(knn_code_bytes(built.encoder.encoding, DIM));
	stride[UPPER] = 4 * M;
	stride[ROW] = sizeof(Row);
}

int
main(void)
{
	Reader		readers[READERS];
	View	   *writer = malloc(sizeof(View));
	pthread_t	thread;
	uint32_t	entry = 0;

	make_graph();
	view_init(writer);
	for (uint32_t id = 0; id < FIRST; id++)
	{
		add_node(writer, id);
		if (built.levels[id] > built.levels[entry])
			entry = id;
	}
	unit_case("race: searches while nodes are added");
	memset(readers, 0, sizeof(readers));
	for (int i = 0; i < READERS; i++)
	{
		readers[i].entry = entry;
		readers[i].entry_level = built.levels[entry];
		if (pthread_create(&readers[i].thread, NULL, read_nodes, &readers[i]) != 0)
			abort();
	}
	if (pthread_create(&thread, NULL, write_nodes, writer) != 0)
		abort();
	pthread_join(thread, NULL);
	for (int i = 0; i < READERS; i++)
	{
		pthread_join(readers[i].thread, NULL);
		UNIT_CHECK(readers[i].searches >= 20, "%u searches only", readers[i].searches);
		UNIT_CHECK(readers[i].wrong == 0, "%u answers are impossible", readers[i].wrong);
		UNIT_CHECK(readers[i].most >= FIRST, "no new node was found");
		UNIT_CHECK(!readers[i].damaged, "damage is reported where there is none");
		UNIT_CHECK(readers[i].differ == 0, "%u answers differ at the end", readers[i].differ);
		if (getenv("UNIT_VERBOSE") != NULL)
			fprintf(stderr, "reader %d: %u searches\n", i, readers[i].searches);
	}
	return unit_done("test_race");
}
