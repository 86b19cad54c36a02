/* SPDX-License-Identifier: Apache-2.0 */
/* server/worker/sandbox.c: what a worker that has been taken over can still do. Each question is asked in a process of its
 * own, whose exit status is the answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "worker/sandbox.c"

enum { CANNOT = 0, CAN = 1, NOT_ENTERED = 2, NO_WALLS = 3 };

static char directory[64], input_path[64];

static int make_files(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/h5pt-test-sandbox-XXXXXX");
    (void)snprintf(input_path, sizeof input_path, "/tmp/h5pt-test-input-XXXXXX");
    int fd = mkstemp(input_path);
    if (!mkdtemp(directory) || fd < 0 || write(fd, "model", 5) != 5)
        return -1;
    return close(fd);
}

static int remove_files(void **state)
{
    (void)state;
    char command[192];
    (void)snprintf(command, sizeof command, "rm -rf -- %s %s", directory, input_path);
    return system(command);
}

/* The status of a child that enters the sandbox and tries. */
static int in_sandbox(enum sandbox_mode mode, bool (*try)(int input, int output_dir))
{
    pid_t pid = fork();
    if (pid == 0) {
        struct sandbox_state walls;
        struct h5pt_error err = H5PT_ERROR_INIT;
        int output_dir = open(directory, O_RDONLY | O_DIRECTORY);
        int input = open(input_path, O_RDONLY);
        if (input < 0 || output_dir < 0 || sandbox_enter(mode, input, output_dir, &walls, &err))
            _exit(err.code == H5PT_NOT_READY ? NO_WALLS : NOT_ENTERED);
        _exit(try(input, output_dir) ? CAN : CANNOT);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static bool read_input(int input, int output_dir)
{
    char byte;
    (void)output_dir;
    return pread(input, &byte, 1, 0) == 1;
}

static bool reopen_input(int input, int output_dir)
{
    char path[32];
    (void)output_dir;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", input);
    return open(path, O_RDONLY) >= 0;
}

static bool write_to_input(int input, int output_dir)
{
    char path[32];
    (void)output_dir;
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", input);
    return open(path, O_WRONLY) >= 0;
}

static bool make_output(int input, int output_dir)
{
    (void)input;
    int fd = openat(output_dir, ".tmp", O_RDWR | O_CREAT | O_EXCL, 0600);
    return fd >= 0 && write(fd, "x", 1) == 1 && ftruncate(fd, 0) == 0 && fsync(fd) == 0 &&
           renameat(output_dir, ".tmp", output_dir, "made") == 0 && openat(output_dir, "made", O_RDONLY) >= 0 &&
           unlinkat(output_dir, "made", 0) == 0;
}

static bool allocate(int input, int output_dir)
{
    (void)input, (void)output_dir;
    char *memory = malloc(64 << 20);
    return memory && memset(memory, 1, 64 << 20);
}

static bool read_elsewhere(int input, int output_dir)
{
    (void)input, (void)output_dir;
    return open("/etc/passwd", O_RDONLY) >= 0;
}

static bool read_beside(int input, int output_dir)
{
    (void)input;
    return openat(output_dir, "..", O_RDONLY) >= 0;
}

static bool write_elsewhere(int input, int output_dir)
{
    (void)input, (void)output_dir;
    return open("/tmp/h5pt-test-escaped", O_WRONLY | O_CREAT, 0600) >= 0;
}

static bool make_symlink(int input, int output_dir)
{
    (void)input;
    return symlinkat("/etc/passwd", output_dir, "link") == 0;
}

static bool start_process(int input, int output_dir)
{
    (void)input, (void)output_dir;
    pid_t pid = fork();
    if (pid == 0)
        _exit(0);
    return pid > 0;
}

/* A program that answers as the children of this test do. */
static bool run_program(int input, int output_dir)
{
    char program[] = "/bin/sh", flag[] = "-c", script[] = "exit 1";
    char *arguments[] = {program, flag, script, NULL}, *environment[] = {NULL};
    (void)input, (void)output_dir;
    (void)execve(program, arguments, environment);
    return false;
}

static bool open_socket(int input, int output_dir)
{
    (void)input, (void)output_dir;
    return socket(AF_INET, SOCK_STREAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0;
}

static bool run_new_code(int input, int output_dir)
{
    (void)input, (void)output_dir;
    return mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
}

static bool signal_parent(int input, int output_dir)
{
    (void)input, (void)output_dir;
    return kill(getppid(), 0) == 0;
}

static const struct attempt {
    const char *name;
    bool (*try)(int input, int output_dir);
    int expected;
} attempts[] = {
    {"read the input", read_input, CAN},
    {"open the input again", reopen_input, CAN},
    {"write an artifact", make_output, CAN},
    {"allocate", allocate, CAN},
    {"write to the input", write_to_input, CANNOT},
    {"read another file", read_elsewhere, CANNOT},
    {"list the directory above", read_beside, CANNOT},
    {"write another file", write_elsewhere, CANNOT},
    {"make a symbolic link", make_symlink, CANNOT},
    {"start a process", start_process, CANNOT},
    {"run a program", run_program, CANNOT},
    {"open a socket", open_socket, CANNOT},
    {"map new code", run_new_code, CANNOT},
    {"send a signal", signal_parent, CANNOT},
};

static void the_walls_hold(void **state)
{
    (void)state;
    if (in_sandbox(SANDBOX_REQUIRE, read_input) == NO_WALLS)
        skip();
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        if (in_sandbox(SANDBOX_REQUIRE, attempts[i].try) != attempts[i].expected)
            fail_msg("inside: %s", attempts[i].name);
}

/* Otherwise the test above would prove nothing. */
static void without_walls_all_of_it_works(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
        if (in_sandbox(SANDBOX_OFF, attempts[i].try) != CAN)
            fail_msg("outside: %s", attempts[i].name);
    (void)unlink("/tmp/h5pt-test-escaped");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_walls_hold),
        cmocka_unit_test(without_walls_all_of_it_works),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
