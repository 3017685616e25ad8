/*
 * svg.c
 *		One line per system; recall to the right, queries per second upwards
 *		(logarithmic), so the better system is up and to the right.
 */
#include "svg.h"
#include "fail.h"
#include "results.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WIDTH 720
#define HEIGHT 460
#define LEFT 70
#define RIGHT 20
#define TOP 40
#define BOTTOM 50

static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9"};
#define NCOLOURS (sizeof(colours) / sizeof(colours[0]))

typedef struct
{
	double		min_recall,
				min_log,
				max_log;
} scale_t;

static double
x_of(const scale_t *s, double recall)
{
	return LEFT + (recall - s->min_recall) / (1 - s->min_recall) * (WIDTH - LEFT - RIGHT);
}

static double
y_of(const scale_t *s, double qps)
{
	return TOP + (s->max_log - log10(qps)) / (s->max_log - s->min_log) * (HEIGHT - TOP - BOTTOM);
}

static void
write_axes(FILE *f, const scale_t *s, const dataset_t *set)
{
	double		step = 1 - s->min_recall > 0.25 ? 0.1 : 1 - s->min_recall > 0.1 ? 0.05 : 0.01;

	fprintf(f, "<text x=\"%d\" y=\"22\" font-size=\"15\">%s: %zu x %u, %s</text>\n", LEFT, set->name,
			set->base.rows, set->base.dim, metric_name(set->metric));
	for (double r = 1; r > s->min_recall - 1e-9; r -= step)
		fprintf(f, "<line x1=\"%.1f\" y1=\"%d\" x2=\"%.1f\" y2=\"%d\" stroke=\"#ddd\"/>"
				"<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.2f</text>\n",
				x_of(s, r), TOP, x_of(s, r), HEIGHT - BOTTOM, x_of(s, r), HEIGHT - BOTTOM + 18, r);
	for (double e = floor(s->min_log); e <= s->max_log; e++)
		for (int m = 1; m <= 5; m = m == 1 ? 2 : m == 2 ? 5 : 6)
		{
			double		q = m * pow(10, e);

			if (log10(q) < s->min_log - 1e-9 || log10(q) > s->max_log + 1e-9)
				continue;
			fprintf(f, "<line x1=\"%d\" y1=\"%.1f\" x2=\"%d\" y2=\"%.1f\" stroke=\"#ddd\"/>"
					"<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n",
					LEFT, y_of(s, q), WIDTH - RIGHT, y_of(s, q), LEFT - 6, y_of(s, q) + 4, q);
		}
	fprintf(f, "<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">recall</text>\n"
			"<text x=\"16\" y=\"%d\" text-anchor=\"middle\" transform=\"rotate(-90 16 %d)\">queries per second</text>\n",
			(LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, (TOP + HEIGHT - BOTTOM) / 2,
			(TOP + HEIGHT - BOTTOM) / 2);
}

static bool
point(const dataset_t *set, const system_t *s, int v, double *recall, double *qps)
{
	return result_summary(set->name, s->name, "sweep", s->sweep_values[v], "recall", recall) &&
		result_summary(set->name, s->name, "sweep", s->sweep_values[v], "qps", qps) && *qps > 0;
}

void
svg_write(const char *prefix, const dataset_t *set, const system_t *systems, int nsystems)
{
	char	   *path = format_string("%s-%s.svg", prefix, set->name);
	FILE	   *f = fopen(path, "w");
	scale_t		s = {1, INFINITY, -INFINITY};
	double		recall,
				qps;

	if (f == NULL)
		die("cannot write --svg \"%s\": %s", path, strerror(errno));
	for (int i = 0; i < nsystems; i++)
		for (int v = 0; v < systems[i].nsweep; v++)
			if (point(set, &systems[i], v, &recall, &qps))
			{
				s.min_recall = fmin(s.min_recall, recall);
				s.min_log = fmin(s.min_log, log10(qps));
				s.max_log = fmax(s.max_log, log10(qps));
			}
	s.min_recall = fmin(floor(s.min_recall * 20) / 20, 0.95);
	s.min_log -= 0.1;
	s.max_log += 0.1;

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" font-family=\"sans-serif\" font-size=\"12\">\n"
			"<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n", WIDTH, HEIGHT);
	write_axes(f, &s, set);
	for (int i = 0; i < nsystems; i++)
	{
		const char *colour = colours[(size_t) i % NCOLOURS];

		fprintf(f, "<polyline fill=\"none\" stroke=\"%s\" stroke-width=\"2\" points=\"", colour);
		for (int v = 0; v < systems[i].nsweep; v++)
			if (point(set, &systems[i], v, &recall, &qps))
				fprintf(f, "%.1f,%.1f ", x_of(&s, recall), y_of(&s, qps));
		fprintf(f, "\"/>\n");
		for (int v = 0; v < systems[i].nsweep; v++)
			if (point(set, &systems[i], v, &recall, &qps))
				fprintf(f, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.5\" fill=\"%s\"><title>%s %s=%s: recall %.4f, %.0f/s</title></circle>\n",
						x_of(&s, recall), y_of(&s, qps), colour, systems[i].name,
						systems[i].sweep_name, systems[i].sweep_values[v], recall, qps);
		fprintf(f, "<rect x=\"%d\" y=\"%d\" width=\"12\" height=\"12\" fill=\"%s\"/><text x=\"%d\" y=\"%d\">%s</text>\n",
				LEFT + 12, HEIGHT - BOTTOM - 24 - 18 * i, colour, LEFT + 30,
				HEIGHT - BOTTOM - 14 - 18 * i, systems[i].name);
	}
	fprintf(f, "</svg>\n");
	if (fclose(f) != 0)
		die("cannot write --svg \"%s\": %s", path, strerror(errno));
	free(path);
}
