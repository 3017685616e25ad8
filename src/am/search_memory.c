/*
 * search_memory.c
 *		Memory of graph searches; see search_memory.h.
 *
 * A search of some ten microseconds should not begin by asking the kernel for
 * zeroed pages that the one before gave back.  So a backend keeps the beam, the set
 * of visited nodes and the rest of one search when that is over, unless they have
 * grown large.  Searches that are nested in it have memory of their own.
 */
#include "postgres.h"

#include "am/search_memory.h"

#include "am/allocator.h"
#include "utils/memutils.h"

/*
 * More than this is given back at once: a large set of visited nodes takes long to
 * clear for the next search.
 */
#define KEPT_BYTES (128 * 1024)

typedef struct SearchMemory
{
	MemoryContext context;		/* this and all arrays of the search */
	knn_search	search;
} SearchMemory;

static SearchMemory *kept = NULL;

static void
give_back(void *arg)
{
	SearchMemory *memory = arg;

	if (kept == NULL && MemoryContextMemAllocated(memory->context, false) <= KEPT_BYTES)
		kept = memory;
	else
		MemoryContextDelete(memory->context);
}

static SearchMemory *
make(uint32 max_degree)
{
	MemoryContext context = AllocSetContextCreate(CacheMemoryContext, "knn search",
												  ALLOCSET_DEFAULT_SIZES);
	SearchMemory *memory = MemoryContextAllocZero(context, sizeof(SearchMemory));

	memory->context = context;
	memory->search.allocator = KnnContextAllocator(context);
	memory->search.max_degree = max_degree;
	if (knn_search_init(&memory->search) != KNN_OK)
		elog(ERROR, "out of memory");	/* the allocator raises it itself */
	return memory;
}

knn_search *
KnnSearchTake(uint32 max_degree, MemoryContext owner)
{
	MemoryContextCallback *callback = MemoryContextAlloc(owner, sizeof(MemoryContextCallback));
	SearchMemory *memory = kept;

	if (memory != NULL && memory->search.max_degree == max_degree)
		kept = NULL;
	else
		memory = make(max_degree);
	callback->func = give_back;
	callback->arg = memory;
	MemoryContextRegisterResetCallback(owner, callback);

	memory->search.guide_share = 0;
	memory->search.resumable = true;
	memory->search.nbeam = memory->search.width = 0;
	memory->search.nscored = memory->search.nexpanded = 0;
	return &memory->search;
}
