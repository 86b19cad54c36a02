/* SPDX-License-Identifier: Apache-2.0 */
#include "cpus.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "read_file.h"

enum { PATH_SIZE = 4096 };

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
    char group[PATH_SIZE] = "", path[2 * PATH_SIZE];
    uint64_t least = UINT64_MAX;
    for (const char *line = groups; *line; line += strcspn(line, "\n"), line += *line != '\0')
        if (strncmp(line, unified, sizeof unified - 1) == 0)
            (void)snprintf(group, sizeof group, "%.*s", (int)strcspn(line, "\n") - (int)(sizeof unified - 1),
                           line + sizeof unified - 1);
    for (;;) {
        (void)snprintf(path, sizeof path, "%s%s/cpu.max", root, group);
        struct strbuf text = STRBUF_INIT;
        (void)read_file(path, "quota", &text, NULL);
        const uint64_t quota = parse_quota(strbuf_text(&text));
        strbuf_release(&text);
        least = quota < least ? quota : least;
        char *last = strrchr(group, '/');
        if (!last)
            return least;
        *last = '\0';
    }
}

uint64_t cpus_available(void)
{
    struct strbuf groups = STRBUF_INIT;
    cpu_set_t allowed;
    (void)read_file("/proc/self/cgroup", "list of control groups", &groups, NULL);
    const uint64_t quota = cpus_of_quotas("/sys/fs/cgroup", strbuf_text(&groups));
    strbuf_release(&groups);
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    /* The set is too small for a machine of more than 1024. */
    const long count = sched_getaffinity(0, sizeof allowed, &allowed) == 0 ? CPU_COUNT(&allowed) : online;
    const uint64_t cpus = count > 0 ? (uint64_t)count : 1;
    return quota < cpus ? quota : cpus;
}
