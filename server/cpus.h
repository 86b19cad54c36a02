/* SPDX-License-Identifier: Apache-2.0 */
/* How many processors there are for this process. */
#ifndef H5PT_SERVER_CPUS_H
#define H5PT_SERVER_CPUS_H

#include <stdint.h>

/* Those that it may run on, or as many as the quotas of its control group and of those above it come to (cgroups v2, cpu.max; rounded
 * up), whichever is less. At least 1. */
uint64_t cpus_available(void);

/* What the quotas come to; UINT64_MAX: there are none. `root` is where the control groups are mounted, `groups` the text of
 * /proc/self/cgroup. */
uint64_t cpus_of_quotas(const char *root, const char *groups);

#endif
