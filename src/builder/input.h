/*
 * input.h
 *		The vectors of a job.
 */
#ifndef KNN_BUILDER_INPUT_H
#define KNN_BUILDER_INPUT_H

#include "builder/job.h"

typedef struct builder_input
{
	const uint8_t *rows;		/* mapped */
	uint64_t	row_bytes;
	uint64_t	bytes;
	uint32_t	count;
	uint32_t	dimension;
	knn_encoder encoder;		/* of the graph */
} builder_input;

/*
 * Map the vectors of a job, check both of its files, and make the encoder, of a graph
 * with the centre.  Ends the program when they are not what the job says.  Ids are the
 * vectors' positions, except where the result is of faiss: it has a map of them.
 */
extern void builder_input_open(builder_input *input, const builder_job *job);
extern void builder_input_close(builder_input *input);

/*
 * Map one of a job's files, which must be that of so many "what" and so long; NULL when
 * that is nothing.  Ends the program otherwise; munmap is due.
 */
extern const void *builder_map(const char *path, uint64_t expected, uint32_t count,
							   const char *what);

/* Bytes of a vector in its file. */
extern uint64_t builder_row_bytes(const builder_job *job);

/* A vector, in the form that knn_encode takes. */
static inline const void *
builder_input_row(const builder_input *input, uint32_t i)
{
	return input->rows + input->row_bytes * i;
}

/* The elements of a vector as floats; buffer has room for them and may be used. */
extern const float *builder_input_floats(const builder_input *input, uint32_t i, float *buffer);

#endif
