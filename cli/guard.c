/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"

static int exit_code(int status)
{
    struct h5pt_error err = H5PT_ERROR_INIT;
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    (void)h5pt_fail(&err, H5PT_WORKER_CRASHED, "",
                    "The conversion was ended by a signal (%s): the file is damaged or hostile, or memory ran out",
                    strsignal(WTERMSIG(status)));
    return cli_fail(&err);
}

int cli_guarded(int (*work)(void *context), void *context)
{
    int status;
    pid_t parent = getpid();
    (void)fflush(NULL);
    pid_t child = fork();
    if (child < 0)
        return work(context);
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
        exit(getppid() == parent ? work(context) : h5pt_code_exit(H5PT_INTERNAL));
    }
    while (waitpid(child, &status, 0) < 0)
        if (errno != EINTR)
            return h5pt_code_exit(H5PT_IO);
    return exit_code(status);
}
