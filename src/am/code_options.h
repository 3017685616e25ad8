/*
 * code_options.h
 *		The options of all methods that tell what an index keeps of a vector, as
 *		the relation cache keeps them.
 */
#ifndef KNN_AM_CODE_OPTIONS_H
#define KNN_AM_CODE_OPTIONS_H

#include "postgres.h"

#include "compat.h"
#include "access/reloptions.h"

#include "am/options.h"

/* A part of each method's reloptions; strings are offsets in these. */
typedef struct KnnCodeReloptions
{
	int			mode;
	int			compression_level;
	int			encoder;
	int			bits;
	int			type;
	int			clip;
	int			random_rotation;
	int			enable_adc;
	int			store_vectors;
	int			pq_m;
	int			code_size;
	int			model_id;
} KnnCodeReloptions;

/* Their entries in a method's table for build_reloptions. */
#define KNN_CODE_RELOPTIONS(base) \
	{"mode", RELOPT_TYPE_STRING, (base) + offsetof(KnnCodeReloptions, mode)}, \
	{"compression_level", RELOPT_TYPE_STRING, (base) + offsetof(KnnCodeReloptions, compression_level)}, \
	{"encoder", RELOPT_TYPE_STRING, (base) + offsetof(KnnCodeReloptions, encoder)}, \
	{"bits", RELOPT_TYPE_INT, (base) + offsetof(KnnCodeReloptions, bits)}, \
	{"type", RELOPT_TYPE_STRING, (base) + offsetof(KnnCodeReloptions, type)}, \
	{"clip", RELOPT_TYPE_ENUM, (base) + offsetof(KnnCodeReloptions, clip)}, \
	{"random_rotation", RELOPT_TYPE_ENUM, (base) + offsetof(KnnCodeReloptions, random_rotation)}, \
	{"enable_adc", RELOPT_TYPE_ENUM, (base) + offsetof(KnnCodeReloptions, enable_adc)}, \
	{"store_vectors", RELOPT_TYPE_ENUM, (base) + offsetof(KnnCodeReloptions, store_vectors)}, \
	{"pq_m", RELOPT_TYPE_INT, (base) + offsetof(KnnCodeReloptions, pq_m)}, \
	{"code_size", RELOPT_TYPE_INT, (base) + offsetof(KnnCodeReloptions, code_size)}, \
	{"model_id", RELOPT_TYPE_STRING, (base) + offsetof(KnnCodeReloptions, model_id)}

extern void KnnCodeOptionsRegister(relopt_kind kind);

/* The options as given. */
extern KnnCodeOptions KnnCodeOptionsDecode(void *reloptions, const KnnCodeReloptions *raw);

/* ERROR when they contradict each other, whatever the column is. */
extern void KnnCodeOptionsCheck(void *reloptions, const KnnCodeReloptions *raw);

/* ERROR: an option that a model decides. */
pg_noreturn extern void KnnRefuseWithModel(const char *option);

#endif
