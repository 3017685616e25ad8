/*
 * progress.c
 *		The progress bar, and the clock it and every measurement use.
 */
#define _GNU_SOURCE
#include "progress.h"

#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define BAR_WIDTH 30
#define REDRAW_SECONDS 0.2

static const char *step;
static size_t step_total;
static double last_drawn;
static bool shown;

double
now_seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double) ts.tv_sec + (double) ts.tv_nsec * 1e-9;
}

static void
draw(size_t done)
{
	int			filled;

	if (step_total == 0)
	{
		fprintf(stderr, "\r\033[K%s ...", step);
		return;
	}
	filled = (int) ((double) done / (double) step_total * BAR_WIDTH);
	if (filled > BAR_WIDTH)
		filled = BAR_WIDTH;
	fprintf(stderr, "\r\033[K%s [%.*s%*s] %3.0f%%", step,
			filled, "##############################", BAR_WIDTH - filled, "",
			100.0 * (double) done / (double) step_total);
}

void
progress_begin(const char *what, size_t total)
{
	progress_end();
	if (!isatty(STDERR_FILENO))
		return;
	step = what;
	step_total = total;
	shown = true;
	last_drawn = now_seconds();
	draw(0);
}

void
progress_at(size_t done)
{
	double		now;

	if (!shown)
		return;
	now = now_seconds();
	if (now - last_drawn < REDRAW_SECONDS)
		return;
	last_drawn = now;
	draw(done);
}

void
progress_end(void)
{
	if (!shown)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	shown = false;
}
