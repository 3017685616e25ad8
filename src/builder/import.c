/*
 * import.c
 *		A graph that somebody else has built; see import.h.
 *
 *	check		the file is one of faiss, and its graph is of this job's vectors
 *	encode		the vectors, as for a build of our own: what follows compares codes
 *	lists		of each node, of all levels that the file has
 *	link back	where level 0 is of other hands than a build of our m would leave it
 *	levels		those above 0, where the file has none (upper.c), and long links
 *	connect		what cannot be reached
 *	look		whether searches find the graph's own vectors, and link what they do not
 *
 * The graph's numbers are those of the vectors.  Where codes and links do not fit into
 * the job's memory, they are in mapped files, as in a build in parts.
 */
#include "builder/import.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "builder/build.h"
#include "builder/memory.h"
#include "builder/threads.h"
#include "builder/upper.h"
#include "core/graph_import.h"
#include "core/graph_repair.h"

#define PHASE "import"
#define DONE_AT_ONCE 64			/* nodes */

/* Stored vectors that are compared with the job's. */
#define COMPARED 1000

/*
 * A graph whose searches, with a beam as wide as a build's and no narrower than this, find
 * fewer than so many of 1000 of its own vectors is refused.  (Of 100,000 vectors of 128
 * dimensions, graphs of our own build found 51% at m = 2, 77% at m = 3, 93% at m = 4 and
 * all at m = 16; one of other vectors or of links by chance finds about 1%.)
 */
#define SENSE_WIDTH 64
#define SENSE_PERMILLE 250
#define SENSE_SOUGHT 100

/*
 * Where searches with a beam of 2m, and no narrower than this, find fewer than so many of
 * 1000, each node is looked for and those that are not found are linked.  Graphs of a GPU
 * are that bad where vectors are in clusters that are far from each other: a query then
 * finds all of its neighbours or none.
 */
#define MEND_WIDTH 16
#define MEND_PERMILLE 997
#define MEND_SOUGHT 400

typedef struct Importing
{
	const builder_job *job;
	builder_input input;
	const char *path;
	void	   *bytes;			/* of the file, mapped */
	uint64_t	size;
	knn_faiss_file file;
	knn_graph	graph;
	knn_import	import;
	bool		spooled;		/* codes, factors and links are in files */
	uint64_t	code_bytes;
	uint64_t	factor_bytes;
	uint64_t	link_bytes;
	uint64_t	beside;			/* bytes of levels and their lists */
	/* of the work in progress */
	knn_import_worker *workers;
	uint8_t    *locks;
	knn_parallel_worker *menders;
	uint32_t  **lists;			/* of each thread, 1 + 2m words */
	uint64_t	done;			/* for the progress */
	uint64_t	total;
} Importing;

/* ---- refusing ---- */

__attribute__((format(printf, 2, 3), noreturn))
static void
refuse(const Importing *im, const char *format,...)
{
	builder_error error = {.code = BUILDER_BAD_INPUT};
	va_list		args;

	snprintf(error.message, sizeof(error.message), "file \"%s\" is not a graph of the %u vectors",
			 im->path, im->job->count);
	va_start(args, format);
	vsnprintf(error.detail, sizeof(error.detail) - 1, format, args);
	va_end(args);
	error.detail[0] = (char) toupper((unsigned char) error.detail[0]);
	strcat(error.detail, ".");
	builder_fail(&error);
}

/* ---- the file ---- */

static void
map_graph(Importing *im)
{
	struct stat status;
	int			fd = open(im->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) != 0)
		builder_fail_with(BUILDER_BAD_INPUT, errno, "could not open file \"%s\"", im->path);
	if (!S_ISREG(status.st_mode))
		refuse(im, "it is not a regular file");
	if (status.st_size == 0)
		refuse(im, "it is empty");
	im->size = (uint64_t) status.st_size;
	im->bytes = mmap(NULL, im->size, PROT_READ, MAP_SHARED, fd, 0);
	if (im->bytes == MAP_FAILED)
		builder_fail_with(BUILDER_IO, errno, "could not map file \"%s\"", im->path);
	close(fd);
}

static void
check_file(Importing *im)
{
	knn_faiss_error error;
	uint32_t	n = im->job->count;
	uint32_t	compared = n < COMPARED ? n : COMPARED;
	int			result;

	map_graph(im);
	if (!knn_faiss_parse(im->bytes, im->size, &im->file, &error))
		refuse(im, "at byte %zu %s", error.offset, error.message);
	result = knn_import_begin(&im->import, &im->file, &im->graph, n);
	if (result == KNN_ERROR_FORMAT)
		refuse(im, "%s", im->import.problem);
	if (result != KNN_OK)
		builder_fail_memory();
	for (uint32_t i = 0; i < compared; i++)
	{
		uint32_t	node = (uint32_t) ((uint64_t) n * i / compared);
		uint32_t	vector = knn_import_vector(&im->import, node);

		if (!knn_import_same_vector(&im->import, node, builder_input_row(&im->input, vector)))
			refuse(im, "its vector of id %u is another one than that in file \"%s\"", vector,
				   im->job->vectors);
	}
}

/* ---- memory ---- */

/* While levels are made above, pieces connected or nodes mended, whichever takes most. */
static uint64_t
memory_of_work(const Importing *im)
{
	uint64_t	n = im->job->count;
	uint64_t	upper = im->import.leveled ? 0 :
		builder_upper_memory(im->job, &im->input, builder_upper_lists(n, im->job->m));
	uint64_t	connecting = knn_repair_memory(n);
	uint64_t	mending = knn_parallel_memory(n, im->job->threads + 1);
	uint64_t	most = upper > connecting ? upper : connecting;

	return most > mending ? most : mending;
}

static void
plan(Importing *im)
{
	const builder_job *job = im->job;
	uint64_t	n = job->count;
	uint64_t	upper = im->import.leveled ? im->import.upper_items : builder_upper_lists(n, job->m);
	uint64_t	numbering = n * (4 + 4 + 2);
	uint64_t	working = memory_of_work(im);
	uint64_t	least;
	uint64_t	whole;

	im->beside = n * (1 + 4) + upper * sizeof(uint32_t) * (1 + (uint64_t) job->m);
	im->code_bytes = knn_graph_code_stride(im->input.encoder.encoding, job->dimension) * n;
	im->factor_bytes = sizeof(knn_code_factors) * n;
	im->link_bytes = sizeof(uint32_t) * (1 + 2 * (uint64_t) job->m) * n;
	whole = im->beside + working + im->code_bytes + im->factor_bytes + im->link_bytes;
	im->spooled = job->memory_limit > 0 && whole > job->memory_limit;
	/* of levels some can be left out, and fewer threads can mend */
	least = im->beside + numbering;
	if (im->spooled && least > job->memory_limit)
	{
		builder_error error = {.code = BUILDER_OUT_OF_MEMORY};

		snprintf(error.message, sizeof(error.message),
				 "the graph cannot be imported within %llu bytes of memory",
				 (unsigned long long) job->memory_limit);
		snprintf(error.detail, sizeof(error.detail), "%u vectors need about %llu bytes, and best %llu.",
				 job->count, (unsigned long long) least, (unsigned long long) whole);
		snprintf(error.hint, sizeof(error.hint), "Raise maintenance_work_mem.");
		builder_fail(&error);
	}
}

static void *
take_room(const Importing *im, uint64_t size)
{
	return im->spooled ? builder_spool(im->job->result, size) : builder_alloc(size);
}

static void
give_room(const Importing *im, void *room, uint64_t size)
{
	if (im->spooled)
		builder_spool_end(room, size);
	else
		builder_release(room);
}

static void
take_arrays(Importing *im)
{
	knn_graph  *graph = &im->graph;
	uint64_t	n = im->job->count;

	graph->n = graph->capacity = im->job->count;
	graph->code_stride = knn_graph_code_stride(graph->encoder.encoding, graph->encoder.dim);
	graph->codes = take_room(im, im->code_bytes);
	graph->factors = take_room(im, im->factor_bytes);
	graph->links = take_room(im, im->link_bytes);
	if (!im->import.leveled)
		return;
	graph->levels = builder_alloc(n);
	graph->upper_first = builder_alloc(sizeof(uint32_t) * n);
	knn_import_levels(&im->import);
	graph->upper = builder_alloc(sizeof(uint32_t) * (uint64_t) graph->nupper * (1 + graph->m));
}

/* ---- work on each node ---- */

static void
for_each_node(Importing *im, void (*item) (void *context, uint32_t thread, uint64_t item))
{
	builder_work work = {.phase = PHASE, .base = im->done, .total = im->total,
		.threads = im->job->threads, .items = im->job->count, .chunk = DONE_AT_ONCE,
		.item = item, .context = im};

	builder_do(&work);
	im->done += im->job->count;
}

static void
encode_node(void *context, uint32_t thread, uint64_t item)
{
	Importing  *im = context;
	knn_graph  *graph = &im->graph;

	knn_encode(&graph->encoder, builder_input_row(&im->input, (uint32_t) item),
			   &graph->factors[item], graph->codes + graph->code_stride * item,
			   im->workers[thread].merger.scratch.qf);
}

static void
list_node(void *context, uint32_t thread, uint64_t item)
{
	Importing  *im = context;

	knn_import_lists(&im->import, &im->workers[thread], (uint32_t) item);
}

static void
link_node(void *context, uint32_t thread, uint64_t item)
{
	Importing  *im = context;

	knn_repair_link_back(&im->workers[thread].merger, im->locks, (uint32_t) item, im->lists[thread]);
}

static void
link_node_far(void *context, uint32_t thread, uint64_t item)
{
	Importing  *im = context;

	knn_repair_link_far(&im->workers[thread].merger, (uint32_t) item);
}

static void
begin_work(Importing *im)
{
	uint32_t	threads = im->job->threads;

	im->workers = builder_alloc(sizeof(knn_import_worker) * (uint64_t) threads);
	for (uint32_t i = 0; i < threads; i++)
	{
		if (knn_import_worker_init(&im->workers[i], &im->import) != KNN_OK)
			builder_fail_memory();
	}
}

static void
end_work(Importing *im)
{
	for (uint32_t i = 0; i < im->job->threads; i++)
		knn_import_worker_free(&im->workers[i], &im->import);
	builder_release(im->workers);
}

static void
make_lists(Importing *im)
{
	uint32_t	threads = im->job->threads;

	for_each_node(im, encode_node);
	for_each_node(im, list_node);
	if (!im->import.full_lists)
	{
		im->locks = builder_alloc(im->job->count);
		im->lists = builder_alloc(sizeof(uint32_t *) * (uint64_t) threads);
		for (uint32_t i = 0; i < threads; i++)
			im->lists[i] = builder_alloc(sizeof(uint32_t) * (1 + 2 * (uint64_t) im->job->m));
		for_each_node(im, link_node);
		for (uint32_t i = 0; i < threads; i++)
			builder_release(im->lists[i]);
		builder_release(im->lists);
		builder_release(im->locks);
	}
}

/* ---- the graph as a whole ---- */

static void
make_levels(Importing *im)
{
	builder_upper upper = {.job = im->job, .input = &im->input, .graph = &im->graph,
		.listed = true, .phase = PHASE, .base = im->done, .total = im->total};

	if (im->import.leveled)
		return;
	upper.beside = (uint64_t) im->job->count * (1 + 4) +
		(im->spooled ? 0 : im->code_bytes + im->factor_bytes + im->link_bytes);
	builder_build_upper(&upper);
	im->done += builder_upper_lists(im->job->count, im->job->m);
	for_each_node(im, link_node_far);
}

static uint32_t
mend_width(const builder_job *job)
{
	return 2 * job->m > MEND_WIDTH ? 2 * job->m : MEND_WIDTH;
}

static void
mend_node(void *context, uint32_t thread, uint64_t item)
{
	Importing  *im = context;

	if (knn_parallel_mend(&im->menders[thread], (uint32_t) item, mend_width(im->job)) != KNN_OK)
		builder_fail_memory();
}

/* Threads that there is memory for. */
static uint32_t
mending_threads(const Importing *im)
{
	uint32_t	threads = im->job->threads;

	while (im->spooled && threads > 1 && im->beside + knn_parallel_memory(im->job->count, threads + 1) >
		   im->job->memory_limit)
		threads--;
	return threads;
}

static void
mend(Importing *im)
{
	uint32_t	threads = mending_threads(im);
	builder_work work = {.phase = PHASE, .base = im->done, .total = im->done + im->job->count,
		.threads = threads, .items = im->job->count, .chunk = DONE_AT_ONCE,
		.item = mend_node, .context = im};
	knn_parallel_build build;

	im->menders = builder_alloc(sizeof(knn_parallel_worker) * (uint64_t) threads);
	if (knn_parallel_resume(&build, &im->graph) != KNN_OK)
		builder_fail_memory();
	for (uint32_t i = 0; i < threads; i++)
	{
		if (knn_parallel_worker_init(&im->menders[i], &build) != KNN_OK)
			builder_fail_memory();
	}
	builder_do(&work);
	for (uint32_t i = 0; i < threads; i++)
		knn_parallel_worker_free(&im->menders[i]);
	knn_parallel_end(&build);
	builder_release(im->menders);
}

/* How many of 1000 of its own vectors searches find. */
static uint32_t
look(Importing *im, uint32_t width, uint32_t sought)
{
	uint32_t	found;

	if (knn_repair_sense(&im->graph, width, &sought, &found) != KNN_OK)
		builder_fail_memory();
	return sought > 0 ? found * 1000 / sought : 1000;
}

static void
connect_and_look(Importing *im)
{
	uint32_t	width = im->job->ef_construction > SENSE_WIDTH ? im->job->ef_construction : SENSE_WIDTH;
	uint32_t	pieces;
	uint32_t	found;
	int			result;

	if (knn_repair_begin(&im->graph) != KNN_OK)
		builder_fail_memory();
	result = knn_repair_connect(&im->graph, KNN_REPAIR_MOST_PIECES(im->job->count), &pieces);
	if (result == KNN_ERROR_FORMAT)
		refuse(im, "it falls into more than %u pieces", pieces - 1);
	if (result != KNN_OK)
		builder_fail_memory();
	found = look(im, width, SENSE_SOUGHT);
	if (found < SENSE_PERMILLE)
		refuse(im, "the graph does not find its own vectors: searches find %u of 1000, expected %u at least",
			   found, SENSE_PERMILLE);
	found = im->import.full_lists ? 1000 : look(im, mend_width(im->job), MEND_SOUGHT);
	knn_repair_end(&im->graph);
	if (found < MEND_PERMILLE)
		mend(im);
}

void
builder_import(const builder_job *job, const char *faiss_path)
{
	Importing	im = {.job = job, .path = faiss_path};
	struct timespec start;
	struct timespec end;
	uint64_t	n = job->count;

	clock_gettime(CLOCK_MONOTONIC, &start);
	/* ids are not the vectors' numbers then */
	if (job->result_format != BUILDER_FORMAT_GRAPH)
		builder_fail_with(BUILDER_BAD_JOB, 0, "an import does not result in a file of faiss");
	builder_input_open(&im.input, job);
	builder_progress(PHASE, 0, n);
	builder_graph_shape(&im.graph, job, &im.input);
	check_file(&im);
	plan(&im);
	im.total = 2 * n + (im.import.full_lists ? 0 : n) + (im.import.leveled ? 0 : n + builder_upper_lists(n, job->m));
	take_arrays(&im);
	begin_work(&im);
	make_lists(&im);
	make_levels(&im);
	end_work(&im);
	munmap(im.bytes, im.size);
	connect_and_look(&im);
	give_room(&im, im.graph.codes, im.code_bytes);
	give_room(&im, im.graph.factors, im.factor_bytes);

	builder_write(job, &im.input, &im.graph, NULL);
	give_room(&im, im.graph.links, im.link_bytes);
	builder_release(im.graph.levels);
	builder_release(im.graph.upper_first);
	builder_release(im.graph.upper);
	builder_input_close(&im.input);
	clock_gettime(CLOCK_MONOTONIC, &end);
	builder_result(job->count, (double) (end.tv_sec - start.tv_sec) +
				   (double) (end.tv_nsec - start.tv_nsec) * 1e-9,
				   job->threads, builder_memory_peak(), 1);
}
