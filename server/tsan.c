/* SPDX-License-Identifier: Apache-2.0 */
/* What ThreadSanitizer is told to pass over, when the daemon is built with it. */
#ifdef __SANITIZE_THREAD__

/* jansson counts references with atomic operations, but looks first, with a plain read, whether the value is one of its constants
 * (refcount -1), which never changes. Documents are shared between threads and not changed once they are. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race_top:json_incref\n"
           "race_top:json_decref\n";
}

#else
typedef int not_empty; /* as ISO C wants a file to be */
#endif
