/*
 * code_file.h
 *		The codes of a finished graph as a file: written by the builder, read by the
 *		server.
 *
 * Little-endian.  A header of 32 bytes:
 *
 *		char	magic[8]		"KNNCODES"
 *		u32		version			1
 *		u32		width			bytes of an item
 *		u64		count
 *		u32		crc				CRC-32C of all that follows the header
 *		u32		0
 *
 * then count items, in the order of the graph's nodes: the three factors as float32
 * (norm2, scale, err), the code (knn_code_bytes), zeros up to a multiple of 4 bytes.
 * Of encodings of floats only: bytes and bits are their own codes.
 *
 * The reader checks lengths and the checksum.  Whether the codes are those of the
 * vectors, only who has these can tell.
 */
#ifndef KNN_CORE_CODE_FILE_H
#define KNN_CORE_CODE_FILE_H

#include <stdbool.h>

#include "core/code.h"
#include "core/graph_file.h"

#define KNN_CODE_FILE_VERSION 1
#define KNN_CODE_FILE_HEADER 32 /* bytes */

/* Bytes of an item. */
extern uint32_t knn_code_file_width(knn_encoding encoding, uint32_t dim);

/*
 * The item of a vector (as for knn_encode), of knn_code_file_width bytes, as it is in
 * the file.  scratch is dim floats.
 */
extern void knn_code_file_item(const knn_encoder *encoder, const void *v, uint8_t *item,
							   float *scratch);

/* The header of a file whose items have this checksum. */
extern void knn_code_file_header(uint8_t header[KNN_CODE_FILE_HEADER], uint32_t width,
								 uint64_t count, uint32_t crc);

typedef struct knn_code_reader
{
	/* set by the caller */
	knn_allocator allocator;
	void		(*check) (void);	/* called now and then, may not return; may be
									 * NULL */
	uint32_t	width;			/* expected of the file */
	uint64_t	count;
	bool		again;			/* the file was read before: no checksum is made */

	/*
	 * Gets the items one run after the other, as they are in the file and before the
	 * checksum of all of them is known.
	 */
	void		(*items) (void *state, uint64_t first, const uint8_t *items, uint32_t n);
	void	   *state;

	/* why it was refused, or empty */
	char		problem[160];
} knn_code_reader;

/*
 * Read a file from its beginning to its end.  KNN_OK, KNN_ERROR_FORMAT, KNN_ERROR_IO
 * or KNN_ERROR_NO_MEMORY.
 */
extern int	knn_code_file_read(knn_code_reader *reader, const knn_graph_source *source);

/* An item's factors. */
extern knn_code_factors knn_code_file_factors(const uint8_t *item);

#endif
