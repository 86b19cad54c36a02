/* SPDX-License-Identifier: Apache-2.0 */
#include "cpus.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH_SIZE = 4096 };

/* The first line of a file, or more of it; "" when there is none. */
static void read_text(const char *path, char *ret, size_t size)
{
    FILE *file = fopen(path, "re");
    const size_t length = file ? fread(ret, 1, size - 1, file) : 0;
    ret[length] = '\0';
    if (file)
        (void)fclose(file);
}

/* "150000 100000": so many microseconds in each so many; "max 100000": as many as there are. */
static uint64_t parse_quota(const char *text)
{
    char *end;
    const uint64_t quota = strtoull(text, &end, 10), period = strtoull(end, NULL, 10);
    if (end == text || !quota || !period)
        return UINT64_MAX;
    return quota / period + (quota % period != 0);
}

uint64_t cpus_of_quotas(const char *root, const char *groups)
{
    static const char unified[] = "0::"; /* the hierarchy of version 2 */
    char group[PATH_SIZE] = "", path[2 * PATH_SIZE], text[64];
    uint64_t least = UINT64_MAX;
    for (const char *line = groups; *line; line += strcspn(line, "\n"), line += *line != '\0')
        if (strncmp(line, unified, sizeof unified - 1) == 0)
            (void)snprintf(group, sizeof group, "%.*s", (int)strcspn(line, "\n") - (int)(sizeof unified - 1),
                           line + sizeof unified - 1);
    for (;;) {
        (void)snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
        read_text(path, text, sizeof text);
        const uint64_t quota = parse_quota(text);
        least = quota < least ? quota : least;
        char *last = strrchr(group, '/');
        if (!last)
            return least;
        *last = '\0';
    }
}

uint64_t cpus_available(void)
{
    char groups[PATH_SIZE];
    cpu_set_t allowed;
    read_text("/proc/self/cgroup", groups, sizeof groups);
    const uint64_t quota = cpus_of_quotas("/sys/fs/cgroup", groups);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    /* The set is too small for a machine of more than 1024. */
    const long count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : online;
    const uint64_t cpus = count > 0 ? (uint64_t)count : 1;
    return quota < cpus ? quota : cpus;
}
