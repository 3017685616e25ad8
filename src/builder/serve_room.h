/*
 * serve_room.h
 *		Room in the work folder: what jobs that run have been promised of it.
 *
 * A job takes its room little by little, so the bytes that are free when another begins are
 * not all for that: what earlier jobs have been promised and have not written yet is taken
 * off.  Where that leaves too little a job waits for the others' end, and those that come
 * later wait behind it.
 */
#ifndef KNN_BUILDER_SERVE_ROOM_H
#define KNN_BUILDER_SERVE_ROOM_H

#include <pthread.h>
#include <sys/queue.h>

#include "builder/serve.h"

/* Of a job; its owner's, and at one address while it is in the list. */
typedef struct serve_share
{
	TAILQ_ENTRY(serve_share) entry;
	const char *folder;			/* its files; nobody else's are there */
	uint64_t	bytes;
	bool		granted;
} serve_share;

typedef struct serve_room
{
	pthread_mutex_t lock;		/* of the list and its shares; held while folders are looked at */
	TAILQ_HEAD(, serve_share) shares;	/* those that wait behind those that are granted */
} serve_room;

typedef enum
{
	SERVE_ROOM_GRANTED,
	SERVE_ROOM_LATER,			/* ask again: others have to end first */
	SERVE_ROOM_NONE				/* there is too little even without others; or *error tells */
} serve_room_answer;

extern void serve_room_init(serve_room *room);
extern void serve_room_destroy(serve_room *room);

/* Come into the list with a folder and bytes, and leave it, whatever was answered. */
extern void serve_room_enter(serve_room *room, serve_share *share);
extern void serve_room_leave(serve_room *room, serve_share *share);

extern serve_room_answer serve_room_ask(serve_room *room, serve_share *share, builder_error *error);

#endif
