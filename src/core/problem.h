/*
 * problem.h
 *		Why a file is refused: a text in the structure of its reader.
 */
#ifndef KNN_CORE_PROBLEM_H
#define KNN_CORE_PROBLEM_H

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include "core/graph_file.h"

/* Format the text into its room; always KNN_ERROR_FORMAT. */
__attribute__((format(printf, 3, 4), unused))
static int
knn_problem(char *text, size_t room, const char *format,...)
{
	va_list		args;

	va_start(args, format);
	vsnprintf(text, room, format, args);
	va_end(args);
	return KNN_ERROR_FORMAT;
}

/* The same of a structure with an array "problem". */
#define knn_refuse(reader, ...) \
	knn_problem((reader)->problem, sizeof((reader)->problem), __VA_ARGS__)

#endif
