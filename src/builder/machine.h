/*
 * machine.h
 *		What this process may use of its machine: the machine's own figures, and the limits
 *		of its control groups, in which containers and services live.
 */
#ifndef KNN_BUILDER_MACHINE_H
#define KNN_BUILDER_MACHINE_H

#include <stdint.h>

/*
 * root is the directory that /proc and /sys/fs/cgroup are in: "" but for tests.  Limits that
 * cannot be read are none.
 */

/* Bytes of memory. */
extern uint64_t builder_machine_memory(const char *root);

/* Processors, at least one; a share of one is one. */
extern uint64_t builder_machine_processors(const char *root);

#endif
