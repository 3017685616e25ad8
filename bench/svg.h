/*
 * svg.h
 *		Recall against queries per second, as a picture that needs no program
 *		to draw it.
 */
#ifndef BENCH_SVG_H
#define BENCH_SVG_H

#include "dataset.h"
#include "systems.h"

/* Writes PREFIX-DATASET.svg. */
extern void svg_write(const char *prefix, const dataset_t *set, const system_t *systems,
					  int nsystems);

#endif
