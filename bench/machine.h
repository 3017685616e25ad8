/*
 * machine.h
 *		What the numbers were measured on.
 */
#ifndef BENCH_MACHINE_H
#define BENCH_MACHINE_H

#include <stdio.h>

/* Markdown list items: processor, cores, memory, kernel. */
extern void machine_write(FILE *out);

#endif
