/*
 * secret.h
 *		Which texts are to be looked for in what is shown.
 */
#ifndef KNN_CORE_SECRET_H
#define KNN_CORE_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Passwords of so few letters are words ("wrong", "user") that messages have anyhow.
 * Stars in their place would not hide them: whoever knows the message reads them there.
 */
#define KNN_SECRET_WORD_BYTES 8

/* Is it one that a message would hold only because it was repeated?  NULL is none. */
static inline bool
knn_secret_shows(const char *secret)
{
	size_t		length = 0;

	if (secret == NULL)
		return false;
	for (; secret[length] != '\0'; length++)
	{
		bool		letter = (secret[length] >= 'a' && secret[length] <= 'z') ||
			(secret[length] >= 'A' && secret[length] <= 'Z');

		if (!letter || length + 1 >= KNN_SECRET_WORD_BYTES)
			return true;
	}
	return false;
}

#endif
