/*
 * test_job.c
 *		The parser of jobs: what it takes, and what it says of the rest.
 */
#include <string.h>

#include "builder/job.h"
#include "unit.h"

typedef struct Pair
{
	const char *key;
	const char *value;
} Pair;

static const Pair good[] = {
	{"job", "\"build\""}, {"version", "1"}, {"method", "\"hnsw\""}, {"engine", "\"cpu\""},
	{"vectors", "\"/a/vectors.knnvec\""}, {"ids", "\"/a/vectors.knndid\""},
	{"result", "\"/a/result.knngraph\""}, {"dimension", "768"}, {"count", "1000"},
	{"data_type", "\"float\""}, {"space", "\"cosinesimil\""}, {"encoding", "\"rotated_4\""},
	{"m", "16"}, {"ef_construction", "100"}, {"seed", "\"18446744073709551615\""},
	{"threads", "2"}, {"memory_limit", "67108864"}, {"codes_per_page", "8"},
};

#define NPAIRS (sizeof(good) / sizeof(good[0]))

/*
 * The good job with other values for up to three keys (NULL leaves a key out), and
 * more keys before the end.
 */
static const char *
job_with(const Pair *others, const char *more)
{
	static char text[4096];
	size_t		length = 0;

	for (size_t i = 0; i < NPAIRS; i++)
	{
		const char *value = good[i].value;

		for (int o = 0; others && others[o].key; o++)
		{
			if (strcmp(others[o].key, good[i].key) == 0)
				value = others[o].value;
		}
		if (value)
			length += (size_t) snprintf(text + length, sizeof(text) - length, "%s\"%s\": %s",
										length == 0 ? "{" : ", ", good[i].key, value);
	}
	snprintf(text + length, sizeof(text) - length, "%s}", more);
	return text;
}

static void
refused(const char *text, size_t length, const char *message)
{
	builder_job job;
	builder_error error;
	/* exactly as long, for the sanitizer */
	char	   *copy = malloc(length > 0 ? length : 1);
	bool		ok;

	if (copy == NULL)
		abort();
	memcpy(copy, text, length);
	ok = builder_job_parse(&job, copy, length, &error);
	UNIT_CHECK(!ok, "accepted: %.*s", (int) length, text);
	if (ok)
		builder_job_free(&job);
	else
		UNIT_CHECK(strcmp(error.code, "bad_job") == 0 && strstr(error.message, message) != NULL,
				   "%s: \"%s\", expected \"%s\"", error.code, error.message, message);
	free(copy);
}

static void
refused_with(const char *key, const char *value, const char *message)
{
	Pair		others[] = {{key, value}, {NULL, NULL}};
	const char *text = job_with(others, "");

	refused(text, strlen(text), message);
}

static void
taken(const Pair *others)
{
	builder_job job;
	builder_error error;
	const char *text = job_with(others, "\n");

	if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
		builder_job_free(&job);
}

static void
test_good(void)
{
	builder_job job;
	builder_error error;
	const char *text = job_with(NULL, "");

	unit_case("job: all that it says is taken over");
	if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
	{
		UNIT_CHECK(strcmp(job.vectors, "/a/vectors.knnvec") == 0 && strcmp(job.ids, "/a/vectors.knndid") == 0 &&
				   strcmp(job.result, "/a/result.knngraph") == 0, "paths");
		UNIT_CHECK(job.dimension == 768 && job.count == 1000 && job.m == 16 && job.ef_construction == 100,
				   "numbers");
		UNIT_CHECK(job.space == KNN_SPACE_COSINE && job.encoding == KNN_ENCODING_ROTATED_4, "words");
		UNIT_CHECK(job.seed == UINT64_MAX && job.threads == 2 && job.memory_limit == 67108864 &&
				   job.codes_per_page == 8, "more numbers");
		builder_job_free(&job);
	}

	unit_case("job: other good ones");
	taken((Pair[]) {{"count", "0"}, {"memory_limit", "0"}, {"codes_per_page", "0"}, {NULL, NULL}});
	taken((Pair[]) {{"data_type", "\"byte\""}, {"encoding", "\"byte\""}, {"space", "\"linf\""}, {NULL, NULL}});
	taken((Pair[]) {{"data_type", "\"binary\""}, {"encoding", "\"binary\""}, {"space", "\"hamming\""}, {NULL, NULL}});
	taken((Pair[]) {{"count", "4294967294"}, {"dimension", "16000"}, {"seed", "\"0\""}, {NULL, NULL}});
	taken((Pair[]) {{"vectors", "\"/\\u00e4 \\\"b\\\"\""}, {NULL, NULL}});

	unit_case("job: codes are wanted or not");
	text = job_with(NULL, "");
	if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
	{
		UNIT_CHECK(job.codes == NULL, "codes");
		builder_job_free(&job);
	}
	text = job_with(NULL, ", \"codes\": \"/a/c\"");
	if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
	{
		UNIT_CHECK(strcmp(job.codes, "/a/c") == 0, "codes");
		builder_job_free(&job);
	}
	text = job_with(NULL, ", \"codes\": 1");
	refused(text, strlen(text), "\"codes\" of the job is no text");
	text = job_with((Pair[]) {{"data_type", "\"byte\""}, {"encoding", "\"byte\""}, {NULL, NULL}},
					", \"codes\": \"/a/c\"");
	refused(text, strlen(text), "their own codes");
}

static void
test_keys(void)
{
	static const char *const values[] = {"null", "true", "[]", "{}", "1.5", "-1", "\"\"", "\"x\"", "\"1\"",
	"99999999999999999999"};

	for (size_t i = 0; i < NPAIRS; i++)
	{
		char		message[80];

		unit_case("job: \"%s\" is missing, or of another type", good[i].key);
		snprintf(message, sizeof(message), "the job has no \"%s\"", good[i].key);
		refused_with(good[i].key, NULL, message);
		for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++)
		{
			bool		text = values[v][0] == '"';
			bool		path = strcmp(good[i].key, "vectors") == 0 || strcmp(good[i].key, "ids") == 0 ||
				strcmp(good[i].key, "result") == 0;

			if ((path && text && strlen(values[v]) > 2) ||
				(strcmp(good[i].key, "seed") == 0 && strcmp(values[v], "\"1\"") == 0))
				continue;
			snprintf(message, sizeof(message), "\"%s\" of the job", good[i].key);
			refused_with(good[i].key, values[v], message);
		}
	}
}

static void
test_values(void)
{
	static const char *const numbers[][2] = {
		{"version", "2"}, {"dimension", "0"}, {"dimension", "16001"}, {"count", "4294967295"},
		{"m", "1"}, {"m", "1025"}, {"ef_construction", "0"}, {"threads", "0"}, {"threads", "1025"},
		{"memory_limit", "-5"},
	};
	static const char *const seeds[] = {"\"18446744073709551616\"", "\"-1\"", "\" 1\"", "\"+1\"", "\"0x10\"",
	"\"1e3\"", "\"\\u00001\"", "\"1\\u0000\""};

	unit_case("job: numbers out of range");
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		refused_with(numbers[i][0], numbers[i][1], "expected");
	unit_case("job: seeds that are none");
	for (size_t i = 0; i < sizeof(seeds) / sizeof(seeds[0]); i++)
		refused_with("seed", seeds[i], "no number below 2^64");
	unit_case("job: words and paths");
	refused_with("engine", "\"cuda\"", "does not know");
	refused_with("method", "\"ivf\"", "does not know");
	refused_with("space", "\"l2\\u0000\"", "does not know");
	refused_with("result", "\"/a\\u0000b\"", "zero byte");
	unit_case("job: what does not go together");
	refused_with("data_type", "\"byte\"", "have no encoding");
	refused_with("encoding", "\"binary\"", "have no encoding");
	refused_with("space", "\"hamming\"", "have no space");
	{
		Pair		binary[] = {{"data_type", "\"binary\""}, {"encoding", "\"binary\""}, {NULL, NULL}};
		Pair		odd[] = {{"data_type", "\"binary\""}, {"encoding", "\"binary\""}, {"space", "\"hamming\""},
		{"dimension", "12"}, {NULL, NULL}};
		const char *text = job_with(binary, "");

		refused(text, strlen(text), "have no space");
		text = job_with(odd, "");
		refused(text, strlen(text), "multiple of 8");
	}
}

/* The other kind of job has keys of its own. */
static void
test_cluster(void)
{
#define START "{\"job\":\"cluster\",\"version\":1,\"vectors\":\"/a\",\"ids\":\"/b\",\"result\":\"/c\"," \
	"\"dimension\":8,\"count\":9,\"data_type\":\"byte\",\"space\":\"l1\",\"seed\":\"1\",\"threads\":2,\"memory_limit\":0"
	static const char text[] = START ",\"nlist\":9}";
	static const char *const bad[][2] = {
		{START "}", "the job has no \"nlist\""},
		{START ",\"nlist\":0}", "expected 1 to"},
		{START ",\"nlist\":10}", "more than its 9 vectors"},
		{START ",\"nlist\":9,\"m\":16}", "unknown key \"m\""},
		{START ",\"nlist\":9,\"encoding\":\"byte\"}", "unknown key \"encoding\""},
	};
	builder_job job;
	builder_error error;

	unit_case("job: lists");
	if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
	{
		UNIT_CHECK(job.kind == BUILDER_CLUSTER && job.nlist == 9 && job.count == 9 &&
				   job.encoding == KNN_ENCODING_BYTE && job.space == KNN_SPACE_L1, "values");
		builder_job_free(&job);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		refused(bad[i][0], strlen(bad[i][0]), bad[i][1]);
	unit_case("job: a graph with lists");
	{
		const char *graph = job_with(NULL, ", \"nlist\": 1");

		refused(graph, strlen(graph), "unknown key \"nlist\"");
	}
}

static void
test_text(void)
{
	static const char *const texts[] = {"", " ", "{", "}", "[]", "1", "null", "\"build\"", "{}x", "nonsense",
	"{\"job\":}", "{'job':1}"};
	const char *text;

	unit_case("job: text that is no object");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		refused(texts[i], strlen(texts[i]), "the job");
	refused("\0", 1, "the job");
	refused("[[[[[[[[[[[[[[[[", 16, "the job");
	unit_case("job: cut off anywhere");
	text = job_with(NULL, "");
	for (size_t length = 0; length < strlen(text); length++)
		refused(text, length, "the job");
	unit_case("job: more than there should be");
	text = job_with(NULL, ", \"alpha\": 1");
	refused(text, strlen(text), "unknown key \"alpha\"");
	text = job_with(NULL, "} {");
	refused(text, strlen(text), "no JSON object");
	unit_case("job: too long");
	{
		char	   *spaces = malloc(BUILDER_JOB_BYTES + 1);

		if (spaces == NULL)
			abort();
		memset(spaces, ' ', BUILDER_JOB_BYTES + 1);
		refused(spaces, BUILDER_JOB_BYTES + 1, "longer");
		free(spaces);
	}
}

static void
test_faiss(void)
{
	static const struct
	{
		const char *data_type;
		const char *space;
		const char *encoding;
		const char *storage;	/* NULL: not said */
		knn_faiss_encoding expected;
	}			cases[] = {
		{"\"float\"", "\"cosinesimil\"", "\"rotated_1\"", NULL, KNN_FAISS_FLOAT},
		{"\"float\"", "\"l2\"", "\"rotated_8\"", "half", KNN_FAISS_FP16},
		{"\"float\"", "\"l2\"", "\"rotated_8\"", "none", KNN_FAISS_NO_VECTORS},
		{"\"byte\"", "\"l2\"", "\"byte\"", NULL, KNN_FAISS_INT8},
		{"\"binary\"", "\"hamming\"", "\"binary\"", "binary", KNN_FAISS_BITS},
	};
	static const char *const format = ", \"result_format\": \"faiss\"";
	builder_job job;
	builder_error error;
	const char *text;

	unit_case("job: results of faiss");
	text = job_with(NULL, "");
	if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
	{
		UNIT_CHECK(job.result_format == BUILDER_FORMAT_GRAPH && job.ef_search == 100 && job.graph == NULL, "defaults");
		builder_job_free(&job);
	}
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		Pair		others[] = {{"data_type", cases[i].data_type}, {"space", cases[i].space},
		{"encoding", cases[i].encoding}, {NULL, NULL}};
		char		more[200] = "";

		if (cases[i].storage)
			snprintf(more, sizeof(more), ", \"storage\": \"%s\", \"ef_search\": 7", cases[i].storage);
		snprintf(more + strlen(more), sizeof(more) - strlen(more), "%s, \"graph\": \"/a/g\"", format);
		text = job_with(others, more);
		if (UNIT_CHECK(builder_job_parse(&job, text, strlen(text), &error), "%s", error.message))
		{
			UNIT_CHECK(job.result_format == BUILDER_FORMAT_FAISS && job.storage == cases[i].expected,
					   "case %zu: storage %d", i, job.storage);
			UNIT_CHECK(job.ef_search == (cases[i].storage ? 7 : 100) && strcmp(job.graph, "/a/g") == 0, "case %zu", i);
			builder_job_free(&job);
		}
	}

	unit_case("job: results of faiss that there are not");
	text = job_with(NULL, ", \"result_format\": \"lucene\"");
	refused(text, strlen(text), "\"result_format\" of the job is \"lucene\"");
	text = job_with(NULL, ", \"storage\": \"byte\"");
	refused(text, strlen(text), "are not stored as \"byte\"");
	text = job_with(NULL, ", \"ef_search\": 0");
	refused(text, strlen(text), "\"ef_search\"");
	{
		Pair		l1[] = {{"space", "\"l1\""}, {"encoding", "\"rotated_8\""}, {NULL, NULL}};
		Pair		bytes[] = {{"data_type", "\"byte\""}, {"encoding", "\"byte\""}, {NULL, NULL}};
		Pair		many[] = {{"count", "2147483648"}, {NULL, NULL}};

		text = job_with(l1, format);
		refused(text, strlen(text), "has no space \"l1\"");
		text = job_with(bytes, format);
		refused(text, strlen(text), "has no space \"cosinesimil\" of vectors of data type \"byte\"");
		text = job_with(many, format);
		refused(text, strlen(text), "at most 2147483647 vectors");
	}
}

int
main(void)
{
	test_good();
	test_keys();
	test_values();
	test_cluster();
	test_text();
	test_faiss();
	return unit_done("test_job");
}
