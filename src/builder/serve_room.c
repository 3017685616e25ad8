/*
 * serve_room.c
 *		Room in the work folder; see serve_room.h.
 *
 * What a job has written is read before the bytes that are free, so that what is written
 * between the two counts twice rather than not at all.
 */
#include "builder/serve_room.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define BLOCK_BYTES 512			/* of st_blocks */

void
serve_room_init(serve_room *room)
{
	(void) pthread_mutex_init(&room->lock, NULL);
	TAILQ_INIT(&room->shares);
}

void
serve_room_destroy(serve_room *room)
{
	pthread_mutex_destroy(&room->lock);
}

void
serve_room_enter(serve_room *room, serve_share *share)
{
	share->granted = false;
	pthread_mutex_lock(&room->lock);
	TAILQ_INSERT_TAIL(&room->shares, share, entry);
	pthread_mutex_unlock(&room->lock);
}

void
serve_room_leave(serve_room *room, serve_share *share)
{
	pthread_mutex_lock(&room->lock);
	TAILQ_REMOVE(&room->shares, share, entry);
	pthread_mutex_unlock(&room->lock);
}

/* What the files of a folder take of the disk. */
static uint64_t
written(const char *path)
{
	DIR		   *folder = opendir(path);
	struct dirent *entry;
	struct stat status;
	uint64_t	bytes = 0;

	while (folder && (entry = readdir(folder)) != NULL)
	{
		if (fstatat(dirfd(folder), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
			S_ISREG(status.st_mode))
			bytes += (uint64_t) status.st_blocks * BLOCK_BYTES;
	}
	if (folder)
		closedir(folder);
	return bytes;
}

/* Under the lock. */
static serve_room_answer
answer(serve_room *room, serve_share *share, builder_error *error)
{
	const serve_share *other;
	struct statvfs status;
	uint64_t	promised = 0;
	uint64_t	free_bytes;
	bool		others = false;

	for (other = TAILQ_FIRST(&room->shares); other != share; other = TAILQ_NEXT(other, entry))
	{
		uint64_t	has;

		if (!other->granted)
			return SERVE_ROOM_LATER;
		others = true;
		has = written(other->folder);
		promised += other->bytes > has ? other->bytes - has : 0;
	}
	if (statvfs(share->folder, &status) != 0)
	{
		serve_fail(error, BUILDER_IO, errno, "could not look at the work folder");
		return SERVE_ROOM_NONE;
	}
	free_bytes = (uint64_t) status.f_bavail * status.f_frsize;
	share->granted = free_bytes >= promised && free_bytes - promised >= share->bytes;
	if (share->granted)
		return SERVE_ROOM_GRANTED;
	if (others && share->bytes <= (uint64_t) status.f_blocks * status.f_frsize)
		return SERVE_ROOM_LATER;
	serve_fail(error, BUILDER_IO, 0, "the service's work folder has no room for this job");
	snprintf(error->detail, sizeof(error->detail), "%llu bytes are needed, %llu are free.",
			 (unsigned long long) share->bytes, (unsigned long long) free_bytes);
	return SERVE_ROOM_NONE;
}

serve_room_answer
serve_room_ask(serve_room *room, serve_share *share, builder_error *error)
{
	serve_room_answer got;

	pthread_mutex_lock(&room->lock);
	got = answer(room, share, error);
	pthread_mutex_unlock(&room->lock);
	return got;
}
