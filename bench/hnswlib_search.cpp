/*
 * hnswlib_search.cpp
 *		hnswlib as a rival without SQL: knn-bench drives it over a pipe.
 *
 * It is meant to be as fast as the library can be: one process, no server, no
 * rows, compiled for this very processor.  What a query costs here is what a
 * graph search in memory costs.
 *
 * Commands are lines on standard input, followed by raw numbers in the
 * machine's own order; answers likewise on standard output:
 *
 *		load ROWS DIM METRIC		then the floats		-> ok
 *		queries ROWS				then the floats		-> ok
 *		build m = M, ef_construction = N				-> built SECONDS CPU BYTES
 *		warm EF K QUERIES								-> ok
 *		search EF K ROUNDS CORE ...						-> found CPU
 *			a thread for each CORE (-1: wherever it is), and for each thread
 *			its seconds (double), the ids (int32, QUERIES x K), how many they are (int32, QUERIES)
 *			and the seconds of every query (double, QUERIES x ROUNDS)
 *
 * Anything else is answered with "error MESSAGE" and the end.
 */
#include <hnswlib/hnswlib.h>

#include <cmath>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <pthread.h>
#include <sched.h>
#include <string>
#include <thread>
#include <time.h>
#include <vector>

#ifndef HNSWLIB_VERSION
#define HNSWLIB_VERSION ""
#endif

typedef hnswlib::HierarchicalNSW<float> graph_t;
typedef hnswlib::SpaceInterface<float> space_t;

static size_t dim;
static bool normalise;
static std::vector<float> base;
static std::vector<float> queries;
static std::unique_ptr<space_t> space;
static std::unique_ptr<graph_t> graph;

[[noreturn]] static void
fail(const char *fmt,...)
{
	va_list		ap;

	printf("error ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	exit(1);
}

static double
clock_seconds(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec * 1e-9;
}

static double
now_seconds()
{
	return clock_seconds(CLOCK_MONOTONIC);
}

static double
cpu_seconds()
{
	return clock_seconds(CLOCK_PROCESS_CPUTIME_ID);
}

/* Cosine is the inner product of vectors of length one; nobody's clock runs here. */
static void
read_rows(std::vector<float> &rows, size_t n)
{
	rows.resize(n * dim);
	if (fread(rows.data(), sizeof(float), n * dim, stdin) != n * dim)
		fail("the vectors ended early");
	for (size_t i = 0; normalise && i < n; i++)
	{
		float	   *v = &rows[i * dim];
		double		sum = 0;

		for (size_t j = 0; j < dim; j++)
			sum += (double) v[j] * v[j];
		for (size_t j = 0; sum > 0 && j < dim; j++)
			v[j] = (float) (v[j] / sqrt(sum));
	}
}

static void
load(const char *arguments)
{
	char		metric[16];
	size_t		rows;

	if (sscanf(arguments, "%zu %zu %15s", &rows, &dim, metric) != 3)
		fail("load %s: not understood", arguments);
	normalise = strcmp(metric, "cosine") == 0;
	if (strcmp(metric, "l2") == 0)
		space.reset(new hnswlib::L2Space(dim));
	else
		space.reset(new hnswlib::InnerProductSpace(dim));
	read_rows(base, rows);
	printf("ok\n");
}

/* Bytes of what the library allocated: level 0 with its vectors, and the levels above. */
static double
graph_bytes()
{
	double		bytes = (double) graph->cur_element_count * (double) graph->size_data_per_element_;

	for (size_t i = 0; i < graph->cur_element_count; i++)
		bytes += (double) graph->element_levels_[i] * (double) graph->size_links_per_element_;
	return bytes;
}

static void
build(const char *arguments)
{
	size_t		m,
				ef_construction,
				rows = base.size() / dim;
	int			end = 0;
	double		start,
				cpu;

	if (sscanf(arguments, " m = %zu , ef_construction = %zu %n", &m, &ef_construction, &end) != 2 ||
		arguments[end] != '\0')
		fail("write its index as: m = 16, ef_construction = 100");
	graph.reset();
	start = now_seconds();
	cpu = cpu_seconds();
	graph.reset(new graph_t(space.get(), rows, m, ef_construction));
	for (size_t i = 0; i < rows; i++)
		graph->addPoint(&base[i * dim], i);
	printf("built %.9f %.9f %.0f\n", now_seconds() - start, cpu_seconds() - cpu, graph_bytes());
}

static size_t
ask(size_t q, size_t k, int32_t *ids)
{
	auto		found = graph->searchKnn(&queries[q * dim], k);
	size_t		n = found.size();

	for (size_t i = n; i-- > 0; found.pop())
		ids[i] = (int32_t) found.top().second;
	return n;
}

struct searcher_t
{
	int			core;
	std::vector<int32_t> ids;
	std::vector<int32_t> counts;
	std::vector<double> seconds;
	double		total;			/* seconds from its first query to its last answer */
};

/* As knn-bench's own clients: each thread begins elsewhere in the queries. */
static void
search_all(searcher_t *s, size_t k, size_t rounds, size_t first, pthread_barrier_t *start)
{
	size_t		n = queries.size() / dim;

	if (s->core >= 0)
	{
		cpu_set_t	cpus;

		CPU_ZERO(&cpus);
		CPU_SET(s->core, &cpus);
		if (sched_setaffinity(0, sizeof(cpus), &cpus) != 0)
			fail("cannot move to core %d", s->core);
	}
	s->ids.resize(n * k);
	s->counts.resize(n);
	s->seconds.resize(n * rounds);
	pthread_barrier_wait(start);
	s->total = -now_seconds();
	for (size_t i = 0; i < n * rounds; i++)
	{
		size_t		q = (first + i) % n;
		double		t = now_seconds();

		s->counts[q] = (int32_t) ask(q, k, &s->ids[q * k]);
		s->seconds[i] = now_seconds() - t;
	}
	s->total += now_seconds();
}

template <typename T>
static void
put(const std::vector<T> &values)
{
	fwrite(values.data(), sizeof(T), values.size(), stdout);
}

static void
search(char *arguments)
{
	size_t		ef,
				k,
				rounds;
	int			end = 0;
	std::vector<searcher_t> searchers;
	std::vector<std::thread> threads;
	pthread_barrier_t start;
	double		cpu;

	if (sscanf(arguments, "%zu %zu %zu%n", &ef, &k, &rounds, &end) != 3)
		fail("search %s: not understood", arguments);
	for (char *word = strtok(arguments + end, " "); word != nullptr; word = strtok(nullptr, " "))
	{
		searchers.emplace_back();
		searchers.back().core = atoi(word);
	}
	if (graph == nullptr || searchers.empty())
		fail("nothing to search");
	graph->setEf(ef);
	pthread_barrier_init(&start, nullptr, (unsigned) searchers.size());
	cpu = cpu_seconds();
	for (size_t i = 0; i < searchers.size(); i++)
		threads.emplace_back(search_all, &searchers[i], k, rounds,
							 queries.size() / dim * i / searchers.size(), &start);
	for (auto &thread : threads)
		thread.join();
	cpu = cpu_seconds() - cpu;
	pthread_barrier_destroy(&start);
	printf("found %.9f\n", cpu);
	for (auto &s : searchers)
	{
		fwrite(&s.total, sizeof(s.total), 1, stdout);
		put(s.ids);
		put(s.counts);
		put(s.seconds);
	}
}

static void
warm(const char *arguments)
{
	size_t		ef,
				k,
				n;
	std::vector<int32_t> ids;

	if (sscanf(arguments, "%zu %zu %zu", &ef, &k, &n) != 3 || graph == nullptr)
		fail("warm %s: not understood", arguments);
	graph->setEf(ef);
	ids.resize(k);
	for (size_t q = 0; q < n && q < queries.size() / dim; q++)
		ask(q, k, ids.data());
	printf("ok\n");
}

static const char *
vector_unit()
{
#if defined(USE_AVX512)
	if (AVX512Capable())
		return "AVX-512";
#endif
#if defined(USE_AVX)
	if (AVXCapable())
		return "AVX";
#endif
	return "no AVX";
}

int
main()
{
	char		line[1024];

	printf("hnswlib %s, %s\n", HNSWLIB_VERSION, vector_unit());
	fflush(stdout);
	while (fgets(line, sizeof(line), stdin) != nullptr)
	{
		char	   *arguments = line + strcspn(line, " \n");

		line[strcspn(line, "\n")] = '\0';
		if (*arguments == ' ')
			*arguments++ = '\0';
		if (strcmp(line, "load") == 0)
			load(arguments);
		else if (strcmp(line, "queries") == 0)
		{
			read_rows(queries, strtoul(arguments, nullptr, 10));
			printf("ok\n");
		}
		else if (strcmp(line, "build") == 0)
			build(arguments);
		else if (strcmp(line, "warm") == 0)
			warm(arguments);
		else if (strcmp(line, "search") == 0)
			search(arguments);
		else
			fail("unknown command %s", line);
		fflush(stdout);
	}
	return 0;
}
