/*
 * file_part.h
 *		All of a part of a file, however little a system call takes at once.
 */
#ifndef KNN_BUILDER_FILE_PART_H
#define KNN_BUILDER_FILE_PART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* n bytes from an offset; false with errno, which is 0 where the file ends before. */
extern bool builder_read_part(int fd, uint64_t offset, void *bytes, size_t n);

/* n bytes to an offset; false with errno. */
extern bool builder_write_part(int fd, uint64_t offset, const void *bytes, size_t n);

#endif
