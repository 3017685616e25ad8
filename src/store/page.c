/*
 * page.c
 *		What all pages of a knn index have in common; see page.h.
 */
#include "postgres.h"

#include "store/page.h"

#include "storage/bufpage.h"

const char *
KnnColumnName(KnnColumn column)
{
	static const char *const names[KNN_NCOLUMNS] = {
		"meta", "tid", "links", "code", "vector", "upper", "chain", "centre",
		"block", "head", "coarse", "centroid"
	};

	return (unsigned) column < KNN_NCOLUMNS ? names[column] : "unknown";
}

void
KnnPageInit(Page page, KnnColumn column)
{
	KnnPageSpecial *special;

	PageInit(page, BLCKSZ, sizeof(KnnPageSpecial));
	special = KnnPageGetSpecial(page);
	special->column = (uint8) column;
	special->version = KNN_PAGE_VERSION;
	special->page_id = KNN_PAGE_ID;
}

void
KnnPageCover(Page page, Size used)
{
	PageHeader	header = (PageHeader) page;
	Size		lower = MAXALIGN(SizeOfPageHeaderData) + used;

	Assert(lower <= header->pd_upper);
	if (lower > header->pd_lower)
		header->pd_lower = (LocationIndex) lower;
}

bool
KnnPageIsValid(Page page, KnnColumn column)
{
	PageHeader	header = (PageHeader) page;
	KnnPageSpecial *special;

	if (PageIsNew(page) ||
		PageGetPageSize(page) != BLCKSZ ||
		header->pd_special != BLCKSZ - MAXALIGN(sizeof(KnnPageSpecial)) ||
		header->pd_lower < MAXALIGN(SizeOfPageHeaderData) ||
		header->pd_lower > header->pd_upper ||
		header->pd_upper != header->pd_special)
		return false;
	special = (KnnPageSpecial *) ((char *) page + header->pd_special);
	return special->page_id == KNN_PAGE_ID &&
		special->version >= 1 && special->version <= KNN_PAGE_VERSION &&
		special->column == (uint8) column;
}

void
KnnPageCheck(Relation index, BlockNumber block, Page page, KnnColumn column)
{
	if (likely(KnnPageIsValid(page, column)))
		return;
	if (PageIsNew(page))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" contains an unexpected zero page at block %u",
						RelationGetRelationName(index), block),
				 errdetail("Expected a page of column \"%s\".", KnnColumnName(column)),
				 errhint("Please REINDEX it.")));
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" contains a damaged page at block %u",
					RelationGetRelationName(index), block),
			 errdetail("Expected a page of column \"%s\".", KnnColumnName(column)),
			 errhint("Please REINDEX it.")));
}

void
KnnReportDamage(Relation index, BlockNumber block, const char *detail)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is damaged at block %u",
					RelationGetRelationName(index), block),
			 errdetail_internal("%s", detail),
			 errhint("Please REINDEX it.")));
}
