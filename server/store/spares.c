/* SPDX-License-Identifier: Apache-2.0 */
#include "store/spares.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "store/files.h"

void spares_init(struct spares *spares)
{
    *spares = (struct spares){.directory = -1};
    (void)pthread_mutex_init(&spares->lock, NULL);
}

void spares_release(struct spares *spares)
{
    if (spares->directory >= 0)
        (void)close(spares->directory);
    (void)pthread_mutex_destroy(&spares->lock);
}

/* Leaves nothing in the directory of an upload but a model without bytes. */
static bool empty(int directory)
{
    for (int part = 0; part < FILES_PART_COUNT; part++)
        if (part != FILES_MODEL)
            (void)unlinkat(directory, files_part_name((enum files_part)part), 0);
    int fd = openat(directory, files_part_name(FILES_MODEL), O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        (void)close(fd);
    return fd >= 0;
}

bool spares_keep(struct spares *spares, int from, const char *name)
{
    const int fd = openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool kept = fd >= 0 && strlen(name) < TEXT_ID_SIZE && empty(fd);
    if (fd >= 0)
        (void)close(fd);
    (void)pthread_mutex_lock(&spares->lock);
    kept = kept && spares->count < SPARES_MAX && renameat(from, name, spares->directory, name) == 0;
    if (kept)
        (void)snprintf(spares->names[spares->count++], TEXT_ID_SIZE, "%s", name);
    (void)pthread_mutex_unlock(&spares->lock);
    return kept;
}

bool spares_take(struct spares *spares, int to, const char *name)
{
    char spare[TEXT_ID_SIZE] = "";
    (void)pthread_mutex_lock(&spares->lock);
    if (spares->count)
        (void)snprintf(spare, sizeof spare, "%s", spares->names[--spares->count]);
    (void)pthread_mutex_unlock(&spares->lock);
    return *spare && renameat(spares->directory, spare, to, name) == 0;
}
