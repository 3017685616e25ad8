/*
 * secrets.h
 *		Keeping passwords and keys from others than those they are for.
 */
#ifndef KNN_BUILDER_SECRETS_H
#define KNN_BUILDER_SECRETS_H

/* Free memory that holds a secret; text may be NULL. */
extern void builder_secret_free(char *text);

/*
 * From now on the program leaves no core dump, and other processes of its user cannot look
 * into its memory.
 */
extern void builder_secrets_hide(void);

#endif
