/*
 * knn.c
 *		Module entry point: magic block and load-time initialisation.
 *
 * Everything a layer needs at load time is called from here, lowest layer
 * first, so that the order of initialisation can be read in one place.
 */
#include "postgres.h"

#include "fmgr.h"

#include "am/options.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

void
_PG_init(void)
{
	KnnOptionsInit();
}
