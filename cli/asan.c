/* SPDX-License-Identifier: Apache-2.0 */
/* What AddressSanitizer is told to pass over, when the program is built with it. */
#ifdef __SANITIZE_ADDRESS__

const char *__lsan_default_options(void);

const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

/* Graphviz keeps a few kilobytes of each picture. The program draws one and ends. */
const char *__lsan_default_suppressions(void);

const char *__lsan_default_suppressions(void)
{
    return "leak:libgvc.so\n";
}

#else
typedef int not_empty; /* as ISO C wants a file to be */
#endif
