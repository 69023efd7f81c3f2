/* SPDX-License-Identifier: MIT */
/*
 * A small test harness. TEST(name, "what it says") { ... } defines and registers
 * a test; CHECK notes a failure and goes on, REQUIRE leaves the test. Each test
 * runs in a child process of its own, so that a crash, a hang or a leak (under
 * valgrind) is counted against one test and the others still run.
 *
 * Arguments: words; only tests whose sentence contains one of them are run.
 * CHECK_SECONDS: how many seconds a test may take (300: only one that hangs takes as long, on any machine).
 */
#ifndef UNBIND_TESTS_CHECK_H
#define UNBIND_TESTS_CHECK_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct test {
    const char *sentence;
    void (*function)(void);
    struct test *next;
};
static struct test *first_test, **next_test = &first_test;
static int check_failures;

#define TEST(name, sentence_)                                          \
    static void name(void);                                            \
    __attribute__((constructor)) static void name##_register(void) {   \
        static struct test entry = {sentence_, name, NULL};            \
        *next_test = &entry;                                           \
        next_test = &entry.next;                                       \
    }                                                                  \
    static void name(void)

static inline int check_failed(const char *file, int line, const char *text, const char *what) {
    __atomic_add_fetch(&check_failures, 1, __ATOMIC_RELAXED);
    printf("    %s:%d: %s%s\n", file, line, what, text);
    return 0;
}

static inline int check_equal(const char *file, int line, const char *text, long long got, long long expected) {
    if (got == expected) return 1;
    check_failed(file, line, text, "");
    printf("        is %lld, not %lld\n", got, expected);
    return 0;
}

#define CHECK(condition) ((void)((condition) || check_failed(__FILE__, __LINE__, #condition, "not so: ")))
#define CHECK_EQUAL(got, expected) \
    ((void)check_equal(__FILE__, __LINE__, #got, (long long)(got), (long long)(expected)))
#define REQUIRE(condition)                                                      \
    do {                                                                        \
        if (!(condition)) {                                                     \
            check_failed(__FILE__, __LINE__, #condition, "not so: ");           \
            fflush(stdout);                                                     \
            _exit(1);                                                           \
        }                                                                       \
    } while (0)

static inline int check_run(const struct test *test, unsigned seconds) {
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        alarm(seconds);
        test->function();
        exit(check_failures != 0);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (WIFSIGNALED(status)) {
        printf("    ended by signal %d%s\n", WTERMSIG(status), WTERMSIG(status) == 14 ? " (too slow or hung)" : "");
    }
    return status == 0;
}

int main(int argc, char **argv) {
    const char *limit = getenv("CHECK_SECONDS");
    unsigned passed = 0, failed = 0;
    for (const struct test *test = first_test; test; test = test->next) {
        int wanted = argc < 2;
        for (int i = 1; i < argc; i++) wanted |= strstr(test->sentence, argv[i]) != NULL;
        if (!wanted) continue;
        int good = check_run(test, limit ? (unsigned)atoi(limit) : 300);
        printf("%s %s\n", good ? "ok  " : "FAIL", test->sentence);
        if (good) passed++;
        else failed++;
    }
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}

#endif
