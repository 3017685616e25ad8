/*
 * test_serve_vectors.c
 *		The service's check of downloaded vectors, also of files that change below it.
 */
#include <math.h>
#include <string.h>
#include <unistd.h>

#include "builder/serve.h"
#include "folder.h"
#include "unit.h"

#define DIMENSION 64
#define COUNT 20000

/* After how many calls the file is cut, or the job is cancelled; 0: never. */
typedef struct Plan
{
	int			calls;
	int			cut_at;
	int			cancel_at;
} Plan;

static bool
told(void *state, uint64_t done, uint64_t total)
{
	Plan	   *plan = state;

	UNIT_CHECK(done < total && total == COUNT, "%llu of %llu", (unsigned long long) done,
			   (unsigned long long) total);
	plan->calls++;
	if (plan->calls == plan->cut_at)
		UNIT_CHECK(truncate(folder_path("vectors"), 100) == 0, "truncate");
	return plan->calls != plan->cancel_at;
}

/* Write rows of length `length`, and check them. */
static bool
check(float *rows, float length, int space, Plan plan, bool *normalised, builder_error *error)
{
	serve_request request = {.dimension = DIMENSION, .doc_count = COUNT, .data_type = SERVE_FLOAT,
	.space_type = space};
	builder_transfer transfer = {told, &plan};

	for (size_t i = 0; length > 0 && i < (size_t) DIMENSION * COUNT; i++)
		rows[i] = length / 8 * (i % 3 == 0 ? -1 : 1);
	folder_write("vectors", rows, sizeof(float) * DIMENSION * COUNT);
	memset(error, 0, sizeof(*error));
	return serve_vectors_check(folder_path("vectors"), &request, &transfer, normalised, error);
}

static void
test_lengths(float *rows)
{
	builder_error error;
	Plan		plan = {0};
	bool		normalised;
	size_t		size;
	float	   *after;

	unit_case("lengths");
	UNIT_CHECK(check(rows, 1, SERVE_L2, plan, &normalised, &error) && normalised, "length 1");
	UNIT_CHECK(check(rows, 2, SERVE_L2, plan, &normalised, &error) && !normalised, "length 2");
	UNIT_CHECK(check(rows, 2, SERVE_COSINESIMIL, plan, &normalised, &error) && normalised, "cosine");
	after = (float *) folder_read("vectors", &size);
	UNIT_CHECK(size == sizeof(float) * DIMENSION * COUNT, "size");
	for (size_t i = 0; i < (size_t) DIMENSION * COUNT; i++)
		UNIT_CHECK(fabsf(after[i] - rows[i] / 2) < 1e-6f, "element %zu is %g", i, after[i]);
	free(after);
}

static void
test_values(float *rows)
{
	static const uint32_t where[] = {0, 1023, 1024, 1025, COUNT - 1};
	builder_error error;
	Plan		plan = {0};
	bool		normalised;
	char		name[32];

	unit_case("values that are none");
	(void) check(rows, 1, SERVE_L2, plan, &normalised, &error);
	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++)
	{
		float	   *last = rows + (size_t) DIMENSION * where[i] + DIMENSION - 1;
		float		kept = *last;

		*last = NAN;
		snprintf(name, sizeof(name), "vector %u ", where[i]);
		UNIT_CHECK(!check(rows, 0, SERVE_L2, plan, &normalised, &error) && strstr(error.message, name),
				   "%s: %s", name, error.message);
		*last = kept;
	}
}

/* As when the disk is broken, or somebody else writes there: an error and no signal. */
static void
test_cut(float *rows)
{
	static const int spaces[] = {SERVE_L2, SERVE_COSINESIMIL};
	builder_error error;
	Plan		cut = {.cut_at = 2};
	Plan		cancelled = {.cancel_at = 2};
	bool		normalised;

	unit_case("a file that is cut while it is read");
	for (size_t i = 0; i < 2; i++)
		UNIT_CHECK(!check(rows, 1, spaces[i], cut, &normalised, &error) &&
				   strcmp(error.code, BUILDER_IO) == 0, "%s", error.message);
	UNIT_CHECK(!check(rows, 1, SERVE_L2, cancelled, &normalised, &error) &&
			   strcmp(error.code, BUILDER_CANCELLED) == 0, "%s", error.message);
}

int
main(void)
{
	float	   *rows = malloc(sizeof(float) * DIMENSION * COUNT);

	if (rows == NULL || !folder_make())
		return 1;
	test_lengths(rows);
	test_values(rows);
	test_cut(rows);
	folder_remove();
	free(rows);
	return unit_done("test_serve_vectors");
}
