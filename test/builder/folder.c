/*
 * folder.c
 *		The temporary folder of a test; see folder.h.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "folder.h"

static char folder[] = "/tmp/knn-builder-test.XXXXXX";

bool
folder_make(void)
{
	return mkdtemp(folder) != NULL;
}

void
folder_remove(void)
{
	char		command[64];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	if (system(command) != 0)
		fprintf(stderr, "%s is left\n", folder);
}

const char *
folder_path(const char *name)
{
	static char paths[4][256];
	static int	next;
	char	   *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

void
folder_write(const char *name, const void *bytes, size_t size)
{
	FILE	   *file = fopen(folder_path(name), "wb");

	if (file == NULL || fwrite(bytes, 1, size, file) != size || fclose(file) != 0)
		abort();
}

uint8_t *
folder_read(const char *name, size_t *size)
{
	FILE	   *file = fopen(folder_path(name), "rb");
	struct stat status;
	uint8_t    *bytes;

	*size = 0;
	if (file == NULL)
		return NULL;
	fstat(fileno(file), &status);
	*size = (size_t) status.st_size;
	bytes = malloc(*size + 8);
	if (bytes == NULL || fread(bytes, 1, *size, file) != *size)
		abort();
	fclose(file);
	return bytes;
}

int
folder_files(const char *prefix)
{
	DIR		   *dir = opendir(folder);
	struct dirent *entry;
	int			n = 0;

	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.' && strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
	closedir(dir);
	return n;
}
