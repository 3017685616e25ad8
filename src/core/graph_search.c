/*
 * graph_search.c
 *		Best-first search of a layered proximity graph; see graph_search.h.
 */
#include "core/graph_search.h"

#include <string.h>

#include "core/candidate_sort.h"

#define VISITED_START 1024		/* slots, a power of two */
#define VISITED_SLOTS_PER_ID 4

/* 2^32 over the golden ratio */
#define VISITED_FACTOR UINT32_C(0x9E3779B1)

/* Room made ahead for the ids that a search will visit, per node of its width. */
#define VISITED_PER_WIDTH 16
#define VISITED_AHEAD 65536

/* Nodes that a guided search expands at least. */
#define GUIDE_LEAST 16

static void *
search_alloc(knn_search *s, size_t size)
{
	return s->allocator.alloc(s->allocator.context, size);
}

static void
search_release(knn_search *s, void *pointer)
{
	if (pointer)
		s->allocator.release(s->allocator.context, pointer);
}

static inline size_t
visited_slots(const knn_search *s)
{
	return (size_t) 2 << (32 - s->visited_shift);
}

int
knn_search_init(knn_search *s)
{
	s->beam = s->spill = NULL;
	s->guide = NULL;
	s->nbeam = s->beam_room = s->nspill = s->spill_room = 0;
	s->nguide = s->guide_size = s->guide_room = s->nskipped = 0;
	memset(s->batches, 0, sizeof(s->batches));
	s->visited = NULL;
	s->nvisited = 0;
	s->visited_shift = 32;
	s->nscored = s->nexpanded = 0;
	s->distances = search_alloc(s, sizeof(float) * s->max_degree);
	s->errors = search_alloc(s, sizeof(float) * s->max_degree);
	s->near = search_alloc(s, sizeof(knn_candidate) * s->max_degree);
	if (!s->distances || !s->errors || !s->near)
		return KNN_ERROR_NO_MEMORY;
	for (int i = 0; i < 2; i++)
	{
		s->batches[i].ids = search_alloc(s, sizeof(uint32_t) * s->max_degree);
		/* whatever the reader is now: another may take over later */
		s->batches[i].places = search_alloc(s, sizeof(void *) * 2 * s->max_degree);
		if (!s->batches[i].ids || !s->batches[i].places)
			return KNN_ERROR_NO_MEMORY;
	}
	if (!s->tags)
	{
		s->visited = search_alloc(s, sizeof(uint32_t) * VISITED_START);
		if (!s->visited)
			return KNN_ERROR_NO_MEMORY;
		for (s->visited_shift = 32; visited_slots(s) < VISITED_START;)
			s->visited_shift--;
		s->nvisited = VISITED_START;	/* as if full: reset clears it */
	}
	return KNN_OK;
}

void
knn_search_free(knn_search *s)
{
	search_release(s, s->beam);
	search_release(s, s->spill);
	search_release(s, s->guide);
	search_release(s, s->visited);
	search_release(s, s->distances);
	search_release(s, s->errors);
	search_release(s, s->near);
	for (int i = 0; i < 2; i++)
	{
		search_release(s, s->batches[i].ids);
		search_release(s, s->batches[i].places);
	}
	s->beam = s->spill = NULL;
	memset(s->batches, 0, sizeof(s->batches));
	s->visited = NULL;
	s->near = NULL;
	s->distances = s->errors = s->guide = NULL;
}

/* ---- visited set ---- */

/*
 * Whether a neighbour was seen before is a toss of a coin: a branch on it would be
 * mispredicted at every other neighbour, which took a quarter of a search.  So
 * buckets have two slots that are looked at without branches; the branch that
 * tells a full bucket is rarely taken.
 */

static inline uint32_t *
visited_bucket(const knn_search *s, uint32_t id)
{
	/* Fibonacci hashing: neighbouring ids go far apart */
	return s->visited + 2 * (size_t) ((id * VISITED_FACTOR) >> s->visited_shift);
}

/* Look for an id beyond a full bucket, and add it; false when it was there. */
static bool
visited_overflow(knn_search *s, uint32_t *bucket, uint32_t id)
{
	for (;;)
	{
		for (int i = 0; i < 2; i++)
		{
			if (bucket[i] == id)
				return false;
			if (bucket[i] == KNN_INVALID_ID)
			{
				bucket[i] = id;
				return true;
			}
		}
		bucket += 2;
		if (bucket == s->visited + visited_slots(s))
			bucket = s->visited;
	}
}

/* Add ids, and keep those of them that were not there. */
static inline uint32_t
visited_filter(knn_search *s, uint32_t *ids, uint32_t n)
{
	uint32_t   *visited = s->visited;
	uint32_t	shift = s->visited_shift;
	uint32_t	absent = 0;
	uint32_t	unseen = 0;

	if (s->tags)
	{
		for (uint32_t i = 0; i < n; i++)
		{
			uint32_t	id = ids[i];

			ids[unseen] = id;
			unseen += s->tags[id] != s->tag;
			s->tags[id] = s->tag;
		}
		return unseen;
	}
	/* first those that are not in their bucket, without stores to wait for */
	for (uint32_t i = 0; i < n; i++)
	{
		uint32_t	id = ids[i];
		const uint32_t *bucket = visited + 2 * (size_t) ((id * VISITED_FACTOR) >> shift);

		ids[absent] = id;
		absent += (bucket[0] != id) & (bucket[1] != id);
	}
	for (uint32_t i = 0; i < absent; i++)
	{
		uint32_t	id = ids[i];
		uint32_t   *bucket = visited + 2 * (size_t) ((id * VISITED_FACTOR) >> shift);

		ids[unseen] = id;
		if (__builtin_expect(bucket[0] == KNN_INVALID_ID, 1))
		{
			bucket[0] = id;
			unseen++;
		}
		else
			unseen += visited_overflow(s, bucket, id);
	}
	s->nvisited += unseen;
	return unseen;
}

static int
visited_grow(knn_search *s, uint32_t slots)
{
	size_t		old_slots = visited_slots(s);
	uint32_t   *old = s->visited;
	uint32_t   *grown = search_alloc(s, sizeof(uint32_t) * (size_t) slots);

	if (!grown)
		return KNN_ERROR_NO_MEMORY;
	memset(grown, 0xFF, sizeof(uint32_t) * (size_t) slots);
	s->visited = grown;
	for (s->visited_shift = 32; visited_slots(s) < slots;)
		s->visited_shift--;
	for (size_t i = 0; s->nvisited > 0 && i < old_slots; i++)
	{
		if (old[i] != KNN_INVALID_ID)
			visited_overflow(s, visited_bucket(s, old[i]), old[i]);
	}
	search_release(s, old);
	return KNN_OK;
}

/* Make room for n more ids, so that adding them needs no check. */
static inline int
visited_reserve(knn_search *s, uint32_t n)
{
	uint64_t	slots = visited_slots(s);
	uint64_t	wanted = ((uint64_t) s->nvisited + n) * VISITED_SLOTS_PER_ID;

	if (s->tags || wanted <= slots)
		return KNN_OK;
	while (wanted > slots)
		slots *= 2;
	/* twice more, so that growth is rare */
	if (s->nvisited > 0)
		slots *= 2;
	if (slots > UINT32_MAX)
		return KNN_ERROR_NO_MEMORY;
	return visited_grow(s, (uint32_t) slots);
}

static void
visited_reset(knn_search *s)
{
	if (s->tags)
		return;					/* the caller gives each search a new tag */
	if (s->nvisited > 0)
		memset(s->visited, 0xFF, sizeof(uint32_t) * visited_slots(s));
	s->nvisited = 0;
}

/* ---- beam and spill ---- */

/* Grow an array of candidates to hold at least room. */
static int
reserve_candidates(knn_search *s, knn_candidate **array, uint32_t used,
				   uint32_t *room, uint32_t wanted)
{
	knn_candidate *grown;
	uint32_t	size = *room ? *room : 64;

	if (wanted <= *room)
		return KNN_OK;
	while (size < wanted)
	{
		if (size > UINT32_MAX / 2)
			return KNN_ERROR_NO_MEMORY;
		size *= 2;
	}
	grown = search_alloc(s, sizeof(knn_candidate) * (size_t) size);
	if (!grown)
		return KNN_ERROR_NO_MEMORY;
	if (used > 0)
		memcpy(grown, *array, sizeof(knn_candidate) * (size_t) used);
	search_release(s, *array);
	*array = grown;
	*room = size;
	return KNN_OK;
}

/* Room in the beam for its size and the neighbours that are merged into it */
static int
beam_reserve(knn_search *s, uint32_t size)
{
	if (size > UINT32_MAX - s->max_degree)
		return KNN_ERROR_NO_MEMORY;
	return reserve_candidates(s, &s->beam, s->nbeam, &s->beam_room, size + s->max_degree);
}

/* Room in the spill for n more; the caller then appends without checks. */
static inline int
spill_reserve(knn_search *s, uint32_t n)
{
	if (s->nspill + n <= s->spill_room)
		return KNN_OK;
	return reserve_candidates(s, &s->spill, s->nspill, &s->spill_room, s->nspill + n);
}

/* Number of the first n nodes of the beam that are no farther than a distance. */
static inline uint32_t
beam_rank(const knn_candidate *beam, uint32_t n, float distance)
{
	const knn_candidate *low = beam;

	/* without branches: each would be mispredicted half the time */
	while (n > 1)
	{
		uint32_t	half = n / 2;

		low += half & -(uint32_t) (low[half - 1].distance <= distance);
		n -= half;
	}
	return (uint32_t) (low - beam) + (n == 1 && low->distance <= distance);
}

/*
 * Put the nodes of a batch, which are scored, into the beam; those that are farther
 * than a full beam's last go aside.  Most do, and which cannot be foreseen, so
 * they are told apart without branches first.  The others find their places in
 * the beam as it is, so that one need not wait for the other, and are merged into
 * it from its end; what the beam has no room for goes aside.
 */
static int
beam_add(knn_search *s, const knn_batch *batch)
{
	const float *distances = s->distances;
	const uint32_t *ids = batch->ids;
	uint32_t	n = batch->n;
	knn_candidate *beam = s->beam;
	knn_candidate *near = s->near;
	uint32_t	nnear = 0;
	bool		full = s->nbeam == s->beam_size;
	float		last = full ? beam[s->nbeam - 1].distance : 0;
	uint32_t	end;

	if (spill_reserve(s, n) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	{
		knn_candidate *spill = s->spill + s->nspill;
		uint32_t	step = s->resumable;

		for (uint32_t i = 0; i < n; i++)
		{
			/* a NaN distance compares false and is put aside */
			bool		is_near = !full | (distances[i] < last);

			*spill = (knn_candidate) {distances[i], s->errors[i], ids[i], 0};
			spill += step & !is_near;
			near[nnear].flags = i;
			nnear += is_near;
		}
		s->nspill = (uint32_t) (spill - s->spill);
	}
	if (nnear == 0)
		return KNN_OK;

	/* their flags hold their ranks as long as they are not in the beam */
	for (uint32_t i = 0; i < nnear; i++)
	{
		uint32_t	at = near[i].flags;
		float		distance = distances[at];

		near[i] = (knn_candidate) {
			distance, s->errors[at], ids[at], beam_rank(beam, s->nbeam, distance)
		};
		if (s->reader.fetch)
			s->reader.prefetch(s->reader.state, near[i].id);
	}
	for (uint32_t i = 1; i < nnear; i++)
	{
		knn_candidate c = near[i];
		uint32_t	at = i;

		for (; at > 0 && near[at - 1].distance > c.distance; at--)
			near[at] = near[at - 1];
		near[at] = c;
	}

	end = s->nbeam;
	for (uint32_t i = nnear; i-- > 0;)
	{
		knn_candidate c = near[i];
		uint32_t	rank = c.flags < end ? c.flags : end;	/* NaNs have no order */

		memmove(&beam[rank + i + 1], &beam[rank], sizeof(knn_candidate) * (end - rank));
		c.flags = 0;
		beam[rank + i] = c;
		end = rank;
	}
	if (end < s->cursor)
		s->cursor = end;
	s->nbeam += nnear;
	if (s->nbeam > s->beam_size)
	{
		uint32_t	over = s->nbeam - s->beam_size;

		s->nbeam = s->beam_size;
		if (s->cursor > s->nbeam)
			s->cursor = s->nbeam;
		if (s->resumable)
		{
			memcpy(s->spill + s->nspill, beam + s->nbeam, sizeof(knn_candidate) * over);
			s->nspill += over;
		}
	}
	return KNN_OK;
}

/* ---- guided search ---- */

/* Room for the exact distances that decide; ends the guidance with size 0. */
static int
guide_resize(knn_search *s, uint32_t size)
{
	float	   *grown;

	if (size > s->guide_room)
	{
		grown = search_alloc(s, sizeof(float) * (size_t) size);
		if (!grown)
			return KNN_ERROR_NO_MEMORY;
		if (s->nguide > 0)
			memcpy(grown, s->guide, sizeof(float) * s->nguide);
		search_release(s, s->guide);
		s->guide = grown;
		s->guide_room = size;
	}
	s->guide_size = size;
	return KNN_OK;
}

/*
 * Is a node too far to be expanded?  Its exact distance joins the least ones
 * otherwise.
 */
static bool
guide_skips(knn_search *s, float distance)
{
	float	   *heap = s->guide;
	uint32_t	at;

	if (s->nguide < s->guide_size)
	{
		for (at = s->nguide++; at > 0 && heap[(at - 1) / 2] < distance; at = (at - 1) / 2)
			heap[at] = heap[(at - 1) / 2];
		heap[at] = distance;
		return false;
	}
	if (!(distance < heap[0]))
		return true;
	for (at = 0;;)
	{
		uint32_t	child = 2 * at + 1;

		if (child >= s->nguide)
			break;
		if (child + 1 < s->nguide && heap[child + 1] > heap[child])
			child++;
		if (!(heap[child] > distance))
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = distance;
	return false;
}

/*
 * Take the nearest unexpanded node of the beam and put those of its neighbours
 * that were not seen before into a batch, which stays empty when there is none.
 */
static inline int
expand_nearest(knn_search *s, uint32_t level, knn_batch *batch)
{
	batch->n = 0;
	while (batch->n == 0)
	{
		knn_candidate *candidate;
		uint32_t	n;
		bool		dead = false;

		while (s->cursor < s->nbeam &&
			   (s->beam[s->cursor].flags & KNN_CANDIDATE_EXPANDED))
			s->cursor++;
		if (s->cursor >= s->nbeam)
			return KNN_OK;

		candidate = &s->beam[s->cursor++];
		candidate->flags |= KNN_CANDIDATE_EXPANDED;
		if (s->guide_size > 0)
		{
			if (!(candidate->flags & KNN_CANDIDATE_EXACT))
			{
				candidate->error = s->reader.exact(s->reader.state, candidate->id);
				candidate->flags |= KNN_CANDIDATE_EXACT;
			}
			if (guide_skips(s, candidate->error))
			{
				candidate->flags |= KNN_CANDIDATE_SKIPPED;
				s->nskipped++;
				continue;
			}
		}
		n = s->reader.neighbours(s->reader.state, candidate->id, level, batch->ids, &dead);
		if (dead)
			candidate->flags |= KNN_CANDIDATE_DEAD;
		s->nexpanded++;
		if (visited_reserve(s, n) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		batch->n = visited_filter(s, batch->ids, n);
	}
	return KNN_OK;
}

static inline void
fetch(knn_search *s, knn_batch *batch)
{
	s->reader.fetch(s->reader.state, batch->ids, batch->n, batch->places);
}

/* Score a batch, which was fetched if the reader has that. */
static inline void
score(knn_search *s, knn_batch *batch)
{
	if (s->reader.fetch)
		s->reader.score_fetched(s->reader.state, batch->places, batch->n, s->distances);
	else
		s->reader.score(s->reader.state, batch->ids, batch->n, s->distances, s->errors);
	s->nscored += batch->n;
}

/*
 * Expand the nearest unexpanded node of the beam until there is none.  A reader
 * with fetch has one batch underway while the one before is scored.
 */
static int
run(knn_search *s, uint32_t level)
{
	knn_batch  *next = &s->batches[0];
	knn_batch  *last = &s->batches[1];

	last->n = 0;
	for (;;)
	{
		knn_batch  *ready = next;

		if (expand_nearest(s, level, next) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		if (s->reader.fetch)
		{
			if (next->n > 0)
				fetch(s, next);
			else if (last->n == 0)
				return KNN_OK;
			ready = last;
			last = next;
			next = ready;
			if (ready->n == 0)
				continue;
		}
		else if (next->n == 0)
			return KNN_OK;
		else if (s->reader.prefetch && s->cursor < s->nbeam)
			s->reader.prefetch(s->reader.state, s->beam[s->cursor].id);
		score(s, ready);
		if (beam_add(s, ready) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
	}
}

/*
 * Move the nearest of the spill into the beam's free places.  All of the spill
 * is at least as far as the beam's last, so appending keeps the order.
 */
static int
refill(knn_search *s, uint32_t beam_size)
{
	uint32_t	take;

	if (beam_reserve(s, beam_size) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	s->beam_size = beam_size;
	take = beam_size - s->nbeam;
	if (take > s->nspill)
		take = s->nspill;
	if (take == 0)
		return KNN_OK;
	knn_select_nearest(s->spill, s->nspill, take);
	memcpy(s->beam + s->nbeam, s->spill, sizeof(knn_candidate) * take);
	s->nspill -= take;
	/* the gap is filled from the end, order does not matter there */
	if (s->nspill > take)
		memcpy(s->spill, s->spill + s->nspill, sizeof(knn_candidate) * take);
	else
		memmove(s->spill, s->spill + take, sizeof(knn_candidate) * s->nspill);
	knn_sort_candidates(s->beam + s->nbeam, take);
	if (s->nbeam < s->cursor)
		s->cursor = s->nbeam;
	s->nbeam += take;
	return KNN_OK;
}

/* Run, and widen for the dead until enough live nodes are in the beam. */
static int
run_live(knn_search *s, uint32_t level)
{
	for (;;)
	{
		uint32_t	dead = 0;
		uint32_t	live;

		if (run(s, level) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		for (uint32_t i = 0; i < s->nbeam; i++)
			dead += (s->beam[i].flags & KNN_CANDIDATE_DEAD) != 0;
		live = s->nbeam - dead;
		if (live >= s->width || s->nspill == 0)
			break;
		if (refill(s, s->nbeam + (s->width - live)) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
	}
	for (uint32_t i = 0; s->reader.bound && i < s->nbeam; i++)
	{
		if (!(s->beam[i].flags & KNN_CANDIDATE_EXACT))
			s->beam[i].error = s->reader.bound(s->reader.state, s->beam[i].id,
												s->beam[i].distance);
	}
	return KNN_OK;
}

int
knn_search_level(knn_search *s, const uint32_t *entries, uint32_t nentries,
				 uint32_t level, uint32_t width)
{
	s->nbeam = 0;
	s->nspill = 0;
	s->cursor = 0;
	s->width = width;
	s->beam_size = width;
	s->nguide = s->nskipped = 0;
	if (guide_resize(s, level == 0 && s->guide_share > 0 ?
					 width / s->guide_share + GUIDE_LEAST : 0) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	if (beam_reserve(s, width) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	visited_reset(s);
	if (visited_reserve(s, width < VISITED_AHEAD / VISITED_PER_WIDTH ?
						width * VISITED_PER_WIDTH : VISITED_AHEAD) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	for (uint32_t start = 0; start < nentries;)
	{
		knn_batch  *batch = &s->batches[0];

		if (visited_reserve(s, s->max_degree) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
		for (batch->n = 0; start < nentries && batch->n < s->max_degree; batch->n++)
			batch->ids[batch->n] = entries[start++];
		batch->n = visited_filter(s, batch->ids, batch->n);
		if (batch->n == 0)
			continue;
		if (s->reader.fetch)
			fetch(s, batch);
		score(s, batch);
		if (beam_add(s, batch) != KNN_OK)
			return KNN_ERROR_NO_MEMORY;
	}
	return run_live(s, level);
}

uint32_t
knn_search_descend(knn_search *s, uint32_t entry, uint32_t from, uint32_t to)
{
	uint32_t	best = entry;
	float		best_distance;
	knn_batch  *batch = &s->batches[0];

	s->reader.score(s->reader.state, &entry, 1, &best_distance, s->errors);
	s->nscored++;
	for (uint32_t level = from;; level--)
	{
		bool		moved = true;

		while (moved)
		{
			bool		dead = false;

			moved = false;
			batch->n = s->reader.neighbours(s->reader.state, best, level, batch->ids, &dead);
			s->nexpanded++;
			if (batch->n == 0)
				break;
			if (s->reader.fetch)
				fetch(s, batch);
			score(s, batch);
			for (uint32_t i = 0; i < batch->n; i++)
			{
				if (s->distances[i] < best_distance)
				{
					best_distance = s->distances[i];
					best = batch->ids[i];
					moved = true;
				}
			}
		}
		if (level <= to)
			return best;
	}
}

/*
 * Give skipped nodes another chance; when nothing is left in the spill the
 * guidance has ended, and none will be skipped again.
 */
static void
reconsider_skipped(knn_search *s)
{
	if (s->guide_room == 0)
		return;
	for (uint32_t i = 0; i < s->nbeam; i++)
	{
		if (s->beam[i].flags & KNN_CANDIDATE_SKIPPED)
		{
			s->beam[i].flags &= ~(KNN_CANDIDATE_SKIPPED | KNN_CANDIDATE_EXPANDED);
			if (i < s->cursor)
				s->cursor = i;
		}
	}
	s->nskipped = 0;
}

int
knn_search_widen(knn_search *s, uint32_t width)
{
	uint32_t	dead = 0;

	if (width <= s->width)
		return KNN_OK;
	for (uint32_t i = 0; i < s->nbeam; i++)
		dead += (s->beam[i].flags & KNN_CANDIDATE_DEAD) != 0;
	s->width = width;
	if (s->guide_size > 0 &&
		guide_resize(s, s->nspill > 0 ? width / s->guide_share + GUIDE_LEAST : 0) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	/* nodes of the beam may have been dead once that live ones displaced */
	if (refill(s, width + dead > s->nbeam ? width + dead : s->nbeam) != KNN_OK)
		return KNN_ERROR_NO_MEMORY;
	reconsider_skipped(s);
	return run_live(s, 0);
}

bool
knn_search_seen(const knn_search *s, uint32_t id)
{
	const uint32_t *bucket;

	if (s->tags)
		return s->tags[id] == s->tag;
	for (bucket = visited_bucket(s, id);;)
	{
		for (int i = 0; i < 2; i++)
		{
			if (bucket[i] == id)
				return true;
			if (bucket[i] == KNN_INVALID_ID)
				return false;
		}
		bucket += 2;
		if (bucket == s->visited + visited_slots(s))
			bucket = s->visited;
	}
}
