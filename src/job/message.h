/*
 * message.h
 *		The lines that knn-builder prints.
 *
 *	{"progress":{"phase":"graph","done":n,"total":n}}
 *	{"result":{"nodes":n,"seconds":s,"threads":n,"memory":n,"partitions":n}}
 *	{"error":{"code":"...","message":"...","detail":"...","hint":"...","terminal":true}}
 *	{"warning":{"code":"...","message":"...","detail":"...","hint":"..."}}
 *	{"counters":{"write_success_count":n,...}}		those of remote builds, by OpenSearch's
 *													names, from the start of the program on
 *
 * Nothing is taken on trust: a line is text of another program, which may have
 * gone wrong in any way.
 */
#ifndef KNN_JOB_MESSAGE_H
#define KNN_JOB_MESSAGE_H

#include "postgres.h"

#include "cache/counters.h"

#define KNN_MESSAGE_TEXT 1024	/* room for a text, its end included */

typedef enum KnnMessageKind
{
	KNN_MESSAGE_PROGRESS,
	KNN_MESSAGE_RESULT,
	KNN_MESSAGE_ERROR,
	KNN_MESSAGE_WARNING,
	KNN_MESSAGE_COUNTERS
} KnnMessageKind;

/* Counters of a program, from KNN_COUNT_REMOTE_READ_SUCCESS on. */
#define KNN_JOB_COUNTERS (KNN_COUNT_REMOTE_WAITING_TIME - KNN_COUNT_REMOTE_READ_SUCCESS + 1)

typedef struct KnnMessage
{
	KnnMessageKind kind;

	/* progress */
	char		phase[KNN_MESSAGE_TEXT];
	uint64		done;
	uint64		total;

	/* result */
	uint64		nodes;
	double		seconds;
	uint64		threads;
	uint64		memory;
	uint64		partitions;

	/* error and warning; texts in the encoding of the database */
	char		code[KNN_MESSAGE_TEXT];
	char		message[KNN_MESSAGE_TEXT];
	char		detail[KNN_MESSAGE_TEXT];
	char		hint[KNN_MESSAGE_TEXT];
	bool		terminal;		/* nothing else is to be tried */

	uint64		counters[KNN_JOB_COUNTERS];
} KnnMessage;

/* Texts that are to be shown to nobody; NULL ones count as none. */
#define KNN_MAX_SECRETS 4

typedef struct KnnSecrets
{
	const char *texts[KNN_MAX_SECRETS];
} KnnSecrets;

/*
 * Reads a line of length bytes without its end.  False when it is none of the
 * above.  Unknown members are read over, longer texts are cut.  Raises no error.
 */
extern bool KnnMessageParse(const char *line, Size length, KnnMessage *message);

/*
 * The start of any bytes, made fit to be shown: in the encoding of the database,
 * control characters as "?".  Palloc'd.
 */
extern char *KnnQuoteBytes(const char *bytes, Size length, Size most);

/* Puts stars in the place of secrets that show (core/secret.h), wherever they are in a text. */
extern void KnnHideSecrets(char *text, const KnnSecrets *secrets);

#endif
