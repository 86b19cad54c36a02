/* SPDX-License-Identifier: Apache-2.0 */
/* Directories of uploads that are done with, each with an empty file for the next model. A file system may be slow to make new
 * files where many were just deleted: ext4 does not give their inodes out again for minutes, and passes them all each time. Safe from any thread. */
#ifndef H5PT_STORE_SPARES_H
#define H5PT_STORE_SPARES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "text.h"

/* More are not in use at once, or hardly. */
enum { SPARES_MAX = 64 };

struct spares {
    int directory; /* where they are kept, of the owner's making; -1: none */
    pthread_mutex_t lock;
    size_t count;
    char names[SPARES_MAX][TEXT_ID_SIZE];
};

void spares_init(struct spares *spares);
void spares_release(struct spares *spares); /* closes the directory */

/* Empties the directory `name` in `from` and keeps it. False when it is not kept; it has lost files all the same. */
bool spares_keep(struct spares *spares, int from, const char *name);
/* Moves one to `to`, under this name. False when there is none. */
bool spares_take(struct spares *spares, int to, const char *name);

#endif
