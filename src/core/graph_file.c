/*
 * graph_file.c
 *		A finished graph as a file; see graph_file.h.
 */
#include "core/graph_file.h"

#include <stdio.h>
#include <string.h>

#include "core/crc.h"
#include "core/little_endian.h"
#include "core/problem.h"

#define MAGIC "KNNGRAPH"
#define READ_AT_ONCE ((size_t) 1 << 20)
#define WRITE_AT_ONCE ((size_t) 1 << 16)
#define CHECK_EVERY 4096		/* nodes */

/* ---- bytes ---- */

static bool
big_endian(void)
{
	const uint16_t one = 1;
	uint8_t		first;

	memcpy(&first, &one, 1);
	return first == 0;
}

static uint64_t
get64(const uint8_t *p)
{
	return knn_get32(p) | (uint64_t) knn_get32(p + 4) << 32;
}

static void
put64(uint8_t *p, uint64_t v)
{
	knn_put32(p, (uint32_t) v);
	knn_put32(p + 4, (uint32_t) (v >> 32));
}

/* ---- layout ---- */

/* Bytes of the parts, padded; the caller's numbers are within bounds. */
typedef struct Layout
{
	uint64_t	levels;
	uint64_t	words;			/* each of old_of_new and upper_first */
	uint64_t	links;
	uint64_t	upper;
} Layout;

static uint64_t
padded(uint64_t bytes)
{
	return (bytes + 7) / 8 * 8;
}

static uint64_t
lay_out(uint64_t nodes, uint64_t upper_items, uint32_t m, Layout *layout)
{
	layout->levels = padded(nodes);
	layout->words = padded(nodes * 4);
	layout->links = padded(nodes * 4 * (1 + 2 * (uint64_t) m));
	layout->upper = padded(upper_items * 4 * (1 + (uint64_t) m));
	return KNN_GRAPH_FILE_HEADER + layout->levels + 2 * layout->words +
		layout->links + layout->upper;
}

uint64_t
knn_graph_file_size(uint64_t nodes, uint64_t upper_items, uint32_t m)
{
	Layout		layout;

	return lay_out(nodes, upper_items, m, &layout);
}

/* ---- checks ---- */

static int
no_memory(knn_graph_file *file)
{
	snprintf(file->problem, sizeof(file->problem), "out of memory");
	return KNN_ERROR_NO_MEMORY;
}

/* The header, and the length of the file that follows from it. */
static int
check_header(knn_graph_file *file, const uint8_t *header, uint64_t size,
			 Layout *layout, uint32_t *crc)
{
	uint32_t	version = knn_get32(header + 8);
	uint64_t	nodes = get64(header + 16);
	uint64_t	upper_items = get64(header + 24);

	if (memcmp(header, MAGIC, 8) != 0)
		return knn_refuse(file, "it does not begin with \"" MAGIC "\"");
	if (version != KNN_GRAPH_FILE_VERSION)
		return knn_refuse(file, "it has version %u, expected %u", version, KNN_GRAPH_FILE_VERSION);
	file->m = knn_get32(header + 12);
	if (file->m < 2 || file->m > KNN_GRAPH_FILE_MAX_M)
		return knn_refuse(file, "its m is %u", file->m);
	/* so that no size below can overflow */
	if (nodes >= KNN_INVALID_ID)
		return knn_refuse(file, "it has %llu nodes", (unsigned long long) nodes);
	if (upper_items > nodes * KNN_MAX_LEVEL || upper_items > UINT32_MAX)
		return knn_refuse(file, "it has %llu upper items of %llu nodes",
						  (unsigned long long) upper_items, (unsigned long long) nodes);
	if (lay_out(nodes, upper_items, file->m, layout) != size)
		return knn_refuse(file, "it is %llu bytes long, expected %llu", (unsigned long long) size,
						  (unsigned long long) lay_out(nodes, upper_items, file->m, layout));
	for (int i = 44; i < KNN_GRAPH_FILE_HEADER; i++)
	{
		if (header[i] != 0)
			return knn_refuse(file, "byte %d of its header is not zero", i);
	}
	file->nodes = (uint32_t) nodes;
	file->upper_items = (uint32_t) upper_items;
	file->entry = knn_get32(header + 32);
	file->entry_level = knn_get32(header + 36);
	*crc = knn_get32(header + 40);
	return KNN_OK;
}

/* A set of numbers; false when it was there. */
static bool
set_add(uint8_t *bits, uint32_t i)
{
	uint8_t		bit = (uint8_t) (1 << (i & 7));
	bool		absent = (bits[i >> 3] & bit) == 0;

	bits[i >> 3] |= bit;
	return absent;
}

static void
pause_at(const knn_graph_file *file, uint32_t node)
{
	if (file->check && node % CHECK_EVERY == 0)
		file->check();
}

static int
check_nodes(knn_graph_file *file, uint8_t *bits)
{
	uint64_t	items = 0;
	uint32_t	highest = 0;

	memset(bits, 0, (size_t) file->nodes / 8 + 1);
	for (uint32_t node = 0; node < file->nodes; node++)
	{
		pause_at(file, node);
		if (file->levels[node] > KNN_MAX_LEVEL)
			return knn_refuse(file, "node %u has level %u", node, file->levels[node]);
		if (file->old_of_new[node] >= file->nodes || !set_add(bits, file->old_of_new[node]))
			return knn_refuse(file, "vector %u of node %u does not exist or has another node",
							  file->old_of_new[node], node);
		if (file->levels[node] > highest)
			highest = file->levels[node];
		items += file->levels[node];
	}
	if (items != file->upper_items)
		return knn_refuse(file, "it has %u upper items, its nodes %llu", file->upper_items,
						  (unsigned long long) items);
	if (file->nodes == 0)
	{
		if (file->entry != KNN_INVALID_ID || file->entry_level != 0)
			return knn_refuse(file, "it has no nodes, but the entry point %u", file->entry);
		return KNN_OK;
	}
	if (file->entry >= file->nodes || file->levels[file->entry] != file->entry_level ||
		file->entry_level != highest)
		return knn_refuse(file, "its entry point %u on level %u is not on its highest level %u",
						  file->entry, file->entry_level, highest);

	memset(bits, 0, (size_t) file->upper_items / 8 + 1);
	for (uint32_t node = 0; node < file->nodes; node++)
	{
		uint32_t	first = file->upper_first[node];

		pause_at(file, node);
		for (uint32_t l = 0; l < file->levels[node]; l++)
		{
			if (first >= file->upper_items || l >= file->upper_items - first ||
				!set_add(bits, first + l))
				return knn_refuse(file, "upper item %u of node %u does not exist or has another node",
								  first + l, node);
		}
	}
	return KNN_OK;
}

/* marks[i] is the mark of the last list that led to node i */
static int
check_list(knn_graph_file *file, const uint32_t *row, uint32_t node, uint32_t level,
		   uint32_t *marks, uint32_t mark)
{
	uint32_t	most = level == 0 ? 2 * file->m : file->m;

	if (row[0] > most)
		return knn_refuse(file, "node %u has %u links at level %u", node, row[0], level);
	for (uint32_t i = 1; i <= row[0]; i++)
	{
		if (row[i] >= file->nodes)
			return knn_refuse(file, "node %u links to %u of %u nodes", node, row[i], file->nodes);
		if (row[i] == node)
			return knn_refuse(file, "node %u links to itself", node);
		if (file->levels[row[i]] < level)
			return knn_refuse(file, "node %u links to %u at level %u, which has level %u",
							  node, row[i], level, file->levels[row[i]]);
		if (marks[row[i]] == mark)
			return knn_refuse(file, "node %u links to %u twice", node, row[i]);
		marks[row[i]] = mark;
	}
	return KNN_OK;
}

static int
check_links(knn_graph_file *file, uint32_t *marks)
{
	/* a node's marks are its number, since levels are looked at one by one */
	memset(marks, 0xFF, sizeof(uint32_t) * (size_t) file->nodes);
	for (uint32_t node = 0; node < file->nodes; node++)
	{
		int			result = check_list(file, knn_graph_file_links(file, node), node, 0,
										marks, node);

		pause_at(file, node);
		if (result != KNN_OK)
			return result;
	}
	for (uint32_t level = 1; level <= file->entry_level; level++)
	{
		memset(marks, 0xFF, sizeof(uint32_t) * (size_t) file->nodes);
		for (uint32_t node = 0; node < file->nodes; node++)
		{
			int			result;

			pause_at(file, node);
			if (file->levels[node] < level)
				continue;
			result = check_list(file, knn_graph_file_upper(file, node, level), node, level,
								marks, node);
			if (result != KNN_OK)
				return result;
		}
	}
	return KNN_OK;
}

static void
count_unreachable(knn_graph_file *file, uint8_t *bits, uint32_t *queue)
{
	uint32_t	reached = 0;

	file->unreachable = 0;
	if (file->nodes == 0)
		return;
	memset(bits, 0, (size_t) file->nodes / 8 + 1);
	set_add(bits, file->entry);
	queue[reached++] = file->entry;
	for (uint32_t at = 0; at < reached; at++)
	{
		uint32_t	node = queue[at];

		pause_at(file, at);
		for (uint32_t level = 0; level <= file->levels[node]; level++)
		{
			const uint32_t *row = level == 0 ? knn_graph_file_links(file, node) :
				knn_graph_file_upper(file, node, level);

			for (uint32_t i = 1; i <= row[0]; i++)
			{
				if (set_add(bits, row[i]))
					queue[reached++] = row[i];
			}
		}
	}
	file->unreachable = file->nodes - reached;
}

static int
check_all(knn_graph_file *file)
{
	uint32_t	most = file->nodes > file->upper_items ? file->nodes : file->upper_items;
	size_t		bits = padded((uint64_t) most / 8 + 1);
	uint32_t   *marks;
	int			result;

	file->scratch = file->allocator.alloc(file->allocator.context,
										  bits + sizeof(uint32_t) * ((size_t) file->nodes + 1));
	if (!file->scratch)
		return no_memory(file);
	marks = (uint32_t *) ((uint8_t *) file->scratch + bits);
	result = check_nodes(file, file->scratch);
	if (result == KNN_OK)
		result = check_links(file, marks);
	if (result == KNN_OK)
		count_unreachable(file, file->scratch, marks);
	file->allocator.release(file->allocator.context, file->scratch);
	file->scratch = NULL;
	return result;
}

/* ---- reading ---- */

static void
start(knn_graph_file *file)
{
	file->owned = file->scratch = NULL;
	file->problem[0] = '\0';
	file->nodes = file->upper_items = file->unreachable = 0;
	file->entry = KNN_INVALID_ID;
	file->entry_level = 0;
}

static void
set_parts(knn_graph_file *file, const uint8_t *body, const Layout *layout)
{
	file->levels = body;
	body += layout->levels;
	file->old_of_new = (const uint32_t *) body;
	body += layout->words;
	file->upper_first = (const uint32_t *) body;
	body += layout->words;
	file->links = (const uint32_t *) body;
	body += layout->links;
	file->upper = (const uint32_t *) body;
}

int
knn_graph_file_open(knn_graph_file *file, const void *bytes, uint64_t size)
{
	const uint8_t *p = bytes;
	Layout		layout;
	uint32_t	expected;
	knn_crc		crc;
	int			result;

	start(file);
	if (big_endian())
		return knn_refuse(file, "this processor cannot use it where it is");
	if ((uintptr_t) bytes % 8 != 0)
		return knn_refuse(file, "it is not aligned in memory");
	if (size < KNN_GRAPH_FILE_HEADER || size > SIZE_MAX)
		return knn_refuse(file, "it is %llu bytes long", (unsigned long long) size);
	result = check_header(file, p, size, &layout, &expected);
	if (result != KNN_OK)
		return result;
	knn_crc_init(&crc, KNN_CRC32C);
	for (uint64_t at = KNN_GRAPH_FILE_HEADER; at < size;)
	{
		size_t		n = size - at < READ_AT_ONCE ? (size_t) (size - at) : READ_AT_ONCE;

		if (file->check)
			file->check();
		knn_crc_add(&crc, p + at, n);
		at += n;
	}
	if (knn_crc_value(&crc) != expected)
		return knn_refuse(file, "its checksum is wrong");
	set_parts(file, p + KNN_GRAPH_FILE_HEADER, &layout);
	return check_all(file);
}

static void
swap_words(uint8_t *words, uint64_t bytes)
{
	for (uint64_t at = 0; at + 4 <= bytes; at += 4)
	{
		uint32_t	word = knn_get32(words + at);

		memcpy(words + at, &word, 4);
	}
}

int
knn_graph_file_read(knn_graph_file *file, const knn_graph_source *source)
{
	uint8_t		header[KNN_GRAPH_FILE_HEADER];
	uint64_t	body = source->size - KNN_GRAPH_FILE_HEADER;
	Layout		layout;
	uint32_t	expected;
	knn_crc		crc;
	int			result;

	start(file);
	if (source->size < KNN_GRAPH_FILE_HEADER)
		return knn_refuse(file, "it is %llu bytes long", (unsigned long long) source->size);
	if (!source->read(source->state, 0, header, sizeof(header)))
		return KNN_ERROR_IO;
	result = check_header(file, header, source->size, &layout, &expected);
	if (result != KNN_OK)
		return result;
	if (body > SIZE_MAX - 8)
		return no_memory(file);
	file->owned = file->allocator.alloc(file->allocator.context, (size_t) body + 8);
	if (!file->owned)
		return no_memory(file);
	knn_crc_init(&crc, KNN_CRC32C);
	for (uint64_t at = 0; at < body;)
	{
		size_t		n = body - at < READ_AT_ONCE ? (size_t) (body - at) : READ_AT_ONCE;
		uint8_t    *to = (uint8_t *) file->owned + at;

		if (file->check)
			file->check();
		if (!source->read(source->state, KNN_GRAPH_FILE_HEADER + at, to, n))
			return KNN_ERROR_IO;
		knn_crc_add(&crc, to, n);
		at += n;
	}
	if (knn_crc_value(&crc) != expected)
		return knn_refuse(file, "its checksum is wrong");
	if (big_endian())
		swap_words((uint8_t *) file->owned + layout.levels, body - layout.levels);
	set_parts(file, file->owned, &layout);
	return check_all(file);
}

void
knn_graph_file_free(knn_graph_file *file)
{
	if (file->owned)
		file->allocator.release(file->allocator.context, file->owned);
	if (file->scratch)
		file->allocator.release(file->allocator.context, file->scratch);
	file->owned = file->scratch = NULL;
}

/* ---- writing ---- */

typedef struct Writer
{
	const knn_graph_sink *sink;
	uint64_t	offset;
	uint8_t    *buffer;
	size_t		used;
	bool		failed;
	knn_crc		crc;
} Writer;

static void
flush(Writer *writer)
{
	knn_crc_add(&writer->crc, writer->buffer, writer->used);
	if (!writer->failed &&
		!writer->sink->write(writer->sink->state, writer->offset, writer->buffer, writer->used))
		writer->failed = true;
	writer->offset += writer->used;
	writer->used = 0;
}

static void
write_byte(Writer *writer, uint8_t byte)
{
	if (writer->used == WRITE_AT_ONCE)
		flush(writer);
	writer->buffer[writer->used++] = byte;
}

/* words begin at multiples of 4, so the buffer ends between two */
static void
write_word(Writer *writer, uint32_t word)
{
	if (writer->used == WRITE_AT_ONCE)
		flush(writer);
	knn_put32(writer->buffer + writer->used, word);
	writer->used += 4;
}

static void
pad(Writer *writer)
{
	while (writer->used % 8 != 0)
		write_byte(writer, 0);
}

/* Insertion sort: the lists are short. */
static void
sort_ids(uint32_t *ids, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++)
	{
		uint32_t	id = ids[i];
		uint32_t	j = i;

		for (; j > 0 && ids[j - 1] > id; j--)
			ids[j] = ids[j - 1];
		ids[j] = id;
	}
}

static void
write_list(Writer *writer, const uint32_t *row, uint32_t most, bool ascending,
		   const uint32_t *new_of_old, uint32_t *ids)
{
	uint32_t	n = row[0];

	for (uint32_t i = 0; i < n; i++)
		ids[i] = new_of_old[row[1 + i]];
	if (ascending)
		sort_ids(ids, n);
	write_word(writer, n);
	for (uint32_t i = 0; i < most; i++)
		write_word(writer, i < n ? ids[i] : 0);
}

static void
write_header(Writer *writer, const knn_graph *graph, uint64_t upper_items,
			 const uint32_t *new_of_old)
{
	uint8_t		header[KNN_GRAPH_FILE_HEADER] = MAGIC;

	knn_put32(header + 8, KNN_GRAPH_FILE_VERSION);
	knn_put32(header + 12, graph->m);
	put64(header + 16, graph->n);
	put64(header + 24, upper_items);
	knn_put32(header + 32, graph->n > 0 ? new_of_old[graph->entry] : KNN_INVALID_ID);
	knn_put32(header + 36, graph->n > 0 ? graph->entry_level : 0);
	knn_put32(header + 40, knn_crc_value(&writer->crc));
	if (!writer->failed && !writer->sink->write(writer->sink->state, 0, header, sizeof(header)))
		writer->failed = true;
}

int
knn_graph_file_write(const knn_graph *graph, const uint32_t *old_of_new,
					 const uint32_t *new_of_old, const knn_graph_sink *sink)
{
	const knn_allocator *allocator = &graph->allocator;
	Writer		writer = {.sink = sink, .offset = KNN_GRAPH_FILE_HEADER};
	uint32_t   *ids;
	uint32_t	upper = 0;

	writer.buffer = allocator->alloc(allocator->context, WRITE_AT_ONCE);
	ids = allocator->alloc(allocator->context, sizeof(uint32_t) * 2 * graph->m);
	if (!writer.buffer || !ids)
	{
		if (writer.buffer)
			allocator->release(allocator->context, writer.buffer);
		if (ids)
			allocator->release(allocator->context, ids);
		return KNN_ERROR_NO_MEMORY;
	}
	knn_crc_init(&writer.crc, KNN_CRC32C);
	for (uint32_t i = 0; i < graph->n; i++)
		write_byte(&writer, graph->levels[old_of_new[i]]);
	pad(&writer);
	for (uint32_t i = 0; i < graph->n; i++)
		write_word(&writer, sink->vector_of_old ? sink->vector_of_old[old_of_new[i]] : old_of_new[i]);
	pad(&writer);
	for (uint32_t i = 0; i < graph->n; i++)
	{
		write_word(&writer, upper);
		upper += graph->levels[old_of_new[i]];
	}
	pad(&writer);
	for (uint32_t i = 0; i < graph->n; i++)
	{
		if (graph->check && i % CHECK_EVERY == 0)
			graph->check();
		write_list(&writer, knn_graph_links(graph, old_of_new[i]), 2 * graph->m, true,
				   new_of_old, ids);
	}
	pad(&writer);
	for (uint32_t i = 0; i < graph->n; i++)
	{
		for (uint32_t level = 1; level <= graph->levels[old_of_new[i]]; level++)
			write_list(&writer, knn_graph_upper(graph, old_of_new[i], level), graph->m, false,
					   new_of_old, ids);
	}
	pad(&writer);
	flush(&writer);
	write_header(&writer, graph, upper, new_of_old);
	allocator->release(allocator->context, writer.buffer);
	allocator->release(allocator->context, ids);
	return writer.failed ? KNN_ERROR_IO : KNN_OK;
}
