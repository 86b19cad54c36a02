/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/landlock.h>
#include <seccomp.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

enum { OPEN_FILES = 64 };

static int limit(int resource, uint64_t soft, uint64_t hard, const char *name, struct h5pt_error *err)
{
    const struct rlimit value = {.rlim_cur = soft, .rlim_max = hard};
    if (setrlimit((__rlimit_resource_t)resource, &value))
        return h5pt_fail_errno(err, H5PT_INTERNAL, name, "Setting the limit %s failed", name);
    return 0;
}

/* The kernel ends this process, not the daemon, when the machine runs out of memory. Not allowed everywhere: then it
 * decides by size, which mostly comes to the same. */
static void volunteer_for_oom(void)
{
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t written = write(fd, "1000", 4);
    (void)written;
    (void)close(fd);
}

int sandbox_limit(const struct sandbox_limits *limits, struct h5pt_error *err)
{
    volunteer_for_oom();
    /* A write beyond the limit then fails with EFBIG, which is reported. */
    (void)signal(SIGXFSZ, SIG_IGN);
    /* The sanitizers map terabytes of shadow memory. */
    if (!SANITIZED && limit(RLIMIT_AS, limits->memory, limits->memory, "AS", err))
        return -1;
    if (limit(RLIMIT_CPU, limits->cpu_seconds, limits->cpu_seconds + 1, "CPU", err) ||
        limit(RLIMIT_FSIZE, limits->file_size, limits->file_size, "FSIZE", err) ||
        limit(RLIMIT_NOFILE, OPEN_FILES, OPEN_FILES, "NOFILE", err) || limit(RLIMIT_CORE, 0, 0, "CORE", err))
        return -1;
    return 0;
}

/* Rights and fields that came with later versions of Landlock than the header may know. */
#define FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define NET_TCP 3ULL              /* ABI 4: bind and connect */
#define SCOPES 3ULL               /* ABI 6: abstract sockets and signals */

struct ruleset {
    uint64_t fs, net, scoped;
};

/* What Landlock of this ABI can forbid; all of it is forbidden. Returns the size of the structure that it takes. */
static size_t everything(int abi, struct ruleset *ret)
{
    *ret = (struct ruleset){.fs = (LANDLOCK_ACCESS_FS_MAKE_SYM << 1) - 1};
    if (abi >= 2)
        ret->fs |= LANDLOCK_ACCESS_FS_REFER;
    if (abi >= 3)
        ret->fs |= FS_TRUNCATE;
    if (abi >= 5)
        ret->fs |= FS_IOCTL_DEV;
    if (abi >= 4)
        ret->net = NET_TCP;
    if (abi >= 6)
        ret->scoped = SCOPES;
    return abi >= 6 ? 3 * sizeof(uint64_t) : abi >= 4 ? 2 * sizeof(uint64_t) : sizeof(uint64_t);
}

static int allow_path(int ruleset, int fd, uint64_t rights)
{
    const struct landlock_path_beneath_attr rule = {.allowed_access = rights, .parent_fd = fd};
    return (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
}

/* Returns the ABI in force, 0 when the kernel has no Landlock. */
static int enter_landlock(int input, int output_dir, struct h5pt_error *err)
{
    int abi = (int)syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0;
    struct ruleset attr;
    size_t size = everything(abi, &attr);
    int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
    if (ruleset < 0)
        return h5pt_fail_errno(err, H5PT_INTERNAL, "landlock", "Making a ruleset failed");
    const uint64_t output_rights = attr.fs & (LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE |
                                              LANDLOCK_ACCESS_FS_READ_DIR | LANDLOCK_ACCESS_FS_MAKE_REG |
                                              LANDLOCK_ACCESS_FS_REMOVE_FILE | FS_TRUNCATE);
    int failed = (input >= 0 && allow_path(ruleset, input, LANDLOCK_ACCESS_FS_READ_FILE)) ||
                 (output_dir >= 0 && allow_path(ruleset, output_dir, output_rights)) ||
                 syscall(SYS_landlock_restrict_self, ruleset, 0);
    if (failed)
        abi = h5pt_fail_errno(err, H5PT_INTERNAL, "landlock", "Restricting the process failed");
    (void)close(ruleset);
    return abi;
}

/* The system calls of reading and writing files, memory and waiting. Everything else answers EPERM: libraries probe. */
static const int allowed_calls[] = {
    SCMP_SYS(read),
    SCMP_SYS(pread64),
    SCMP_SYS(readv),
    SCMP_SYS(preadv),
    SCMP_SYS(write),
    SCMP_SYS(pwrite64),
    SCMP_SYS(writev),
    SCMP_SYS(pwritev),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getcwd),
    SCMP_SYS(getdents64),
    SCMP_SYS(dup),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(sync_file_range),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(umask),
    SCMP_SYS(fchmod),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(msync),
    SCMP_SYS(futex),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(nanosleep),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(getrandom),
    SCMP_SYS(getrusage),
    SCMP_SYS(getrlimit),
    SCMP_SYS(sysinfo),
    SCMP_SYS(uname),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(sched_yield),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(rseq),
    SCMP_SYS(membarrier),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* What an argument of a system call has to be: with SCMP_CMP_MASKED_EQ the bits of `value` must be 0. */
static struct scmp_arg_cmp argument(unsigned index, enum scmp_compare compare, scmp_datum_t value)
{
    return (struct scmp_arg_cmp){.arg = index, .op = compare, .datum_a = value, .datum_b = 0};
}

static int add_rules(scmp_filter_ctx filter)
{
    int failed = 0;
    for (size_t i = 0; i < sizeof allowed_calls / sizeof *allowed_calls; i++)
        failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, allowed_calls[i], 0);
    /* Memory, but no new code. */
    const struct scmp_arg_cmp not_executable = argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC);
    failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_executable);
    failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_executable);
    /* abort() signals its own thread. */
    failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
                               argument(0, SCMP_CMP_EQ, (scmp_datum_t)getpid()));
    /* Reading the own limits; setting them takes a pointer in the third argument. */
    failed |= seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), 2, argument(0, SCMP_CMP_EQ, 0),
                               argument(2, SCMP_CMP_EQ, 0));
    return failed;
}

/* False when the kernel has no seccomp filters. */
static bool enter_seccomp(void)
{
    scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!filter)
        return false;
    bool entered = add_rules(filter) == 0 && seccomp_load(filter) == 0;
    seccomp_release(filter);
    return entered;
}

int sandbox_enter(enum sandbox_mode mode, int input, int output_dir, struct sandbox_state *ret, struct h5pt_error *err)
{
    *ret = (struct sandbox_state){0};
    if (mode == SANDBOX_OFF)
        return 0;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0))
        return h5pt_fail_errno(err, H5PT_INTERNAL, "prctl", "Giving up privileges failed");
    ret->no_new_privileges = true;
    ret->landlock = enter_landlock(input, output_dir, err);
    if (ret->landlock < 0)
        return -1;
    ret->seccomp = enter_seccomp();
    if (mode == SANDBOX_REQUIRE && (!ret->landlock || !ret->seccomp))
        return h5pt_fail(err, H5PT_NOT_READY, "sandbox", "The kernel offers no %s, which --sandbox=require asks for",
                         ret->landlock ? "seccomp filters" : "Landlock");
    return 0;
}
