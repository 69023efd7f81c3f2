/* SPDX-License-Identifier: MIT */
/*
 * The mock kernel's ground: the real C library behind the functions that it
 * replaces, the configuration, the log, the one lock, and the descriptors that
 * it serves.
 *
 * One mutex guards all state of the mock; whoever changes something that a caller
 * may wait for wakes all that wait. The real kernel has finer locks;
 * a test double is better served by one that is plainly right.
 */
#ifndef MOCK_HOST_H
#define MOCK_HOST_H

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* ---- the functions behind ours (host_real.c) */

struct statx;
struct real_calls {
    int (*open)(const char *, int, ...);
    int (*openat)(int, const char *, int, ...);
    FILE *(*fopen)(const char *, const char *);
    int (*stat)(const char *, struct stat *);
    int (*lstat)(const char *, struct stat *);
    int (*fstat)(int, struct stat *);
    int (*fstatat)(int, const char *, struct stat *, int);
    int (*statx)(int, const char *, int, unsigned, struct statx *);
    int (*access)(const char *, int);
    int (*faccessat)(int, const char *, int, int);
    ssize_t (*readlink)(const char *, char *, size_t);
    ssize_t (*readlinkat)(int, const char *, char *, size_t);
    char *(*realpath)(const char *, char *);
    DIR *(*opendir)(const char *);
    int (*scandir)(const char *, struct dirent ***, int (*)(const struct dirent *),
                   int (*)(const struct dirent **, const struct dirent **));
    int (*close)(int);
    int (*close_range)(unsigned, unsigned, int);
    int (*dup)(int);
    int (*dup2)(int, int);
    int (*dup3)(int, int, int);
    int (*fcntl)(int, int, ...);
    int (*ioctl)(int, unsigned long, ...);
    void *(*mmap)(void *, size_t, int, int, int, off_t);
};
const struct real_calls *real(void);
/* Whether they have been looked for; before, only system calls are safe. */
bool real_ready(void);

/* ---- configuration (config.c), read once from the environment */

enum lie {
    LIE_NO_TLB_FLUSH = 1,    /* an unmap job (xe), a request's preamble (i915) leaves the TLB alone */
    LIE_IGNORE_IN_FENCE = 2, /* jobs do not wait for their in-fences */
    LIE_KEEP_PTE = 4,        /* an unbind leaves the page-table entries */
    LIE_SIGNAL_EARLY = 8,    /* out-fences signal when the job is queued */
    LIE_LOSE_WRITE = 16,     /* every store of a batch is dropped */
};

enum schedule { SCHEDULE_FIFO, SCHEDULE_RANDOM, SCHEDULE_NEWEST, SCHEDULE_STEP };

struct config {
    bool enabled;
    char machine[32];
    bool privileged;         /* false: only 64 bytes of PCI config space */
    bool nodes_denied;       /* true: opening a node gives EACCES */
    bool nodes_missing;      /* true: no /dev/dri, although a driver is bound */
    bool small_bar;          /* local memory is CPU-visible only in part */
    bool pressure;           /* i915: whatever is idle is unbound, as when memory is short */
    bool next_kernel;        /* what comes after 7.0: VM_GET_PROPERTY */
    enum schedule schedule;
    uint64_t seed;
    uint64_t exec_delay_ns, bind_delay_ns;
    uint64_t fence_lag_ns;   /* xe: a user fence of a bind signals so long after its word was written */
    bool delay_random;       /* delays are drawn from 0..the value */
    uint64_t hang_ns;        /* after this a batch that waits is killed */
    uint64_t system_memory;  /* what the system region reports */
    unsigned bind_limit;     /* more operations in one VM_BIND: ENOBUFS; 0: no limit */
    unsigned queue_limit;    /* more jobs on one xe queue: EAGAIN */
    unsigned lies;
};
extern struct config config;
void config_read(void);
/* Of it only UNBIND_MOCK_FAIL, at any time. */
void config_read_failures(void);

/* The errno that the n-th call of this name shall fail with, or 0. Counts the call. */
int config_failure(const char *name);
/* A random number of the configured seed. */
uint64_t config_random(void);

static inline bool lies(enum lie lie) { return config.lies & lie; }

/* ---- log (log.c): one line a call or event, appended to the file that UNBIND_MOCK_LOG names */

void log_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Adds to the line of the ioctl that this thread is in. */
void log_detail(const char *format, ...) __attribute__((format(printf, 1, 2)));
const char *log_take_detail(void);

/* ---- lock (host_lock.c) */

void kernel_lock(void);
void kernel_unlock(void);
void kernel_changed(void);
/* Lets go of the lock for those who want it: the mutex by itself favours who has just had it. */
void kernel_let_others(void);
uint64_t monotonic_ns(void);
enum wait_result { WAIT_CHANGED, WAIT_LATE, WAIT_INTERRUPTED };
/* Waits for a change, at most until deadline_ns of CLOCK_MONOTONIC (UINT64_MAX: no end) or a signal. */
enum wait_result kernel_wait(uint64_t deadline_ns);
/* Whether this thread has waited since the flag was last cleared. */
extern _Thread_local bool thread_waited;

/* ---- the sysfs tree (tree.c, machines.c) and paths (paths.c) */

void tree_make(void);
void tree_remove(void);
const char *tree_root(void);
/* Which node a file of the tree stands for: 0.. index of the device, -1 none. */
int tree_node_of(const struct stat *status, bool *render);
void tree_patch(struct stat *status);
/* Writes the path to use instead and returns it, or path itself; NULL with errno set when it may not be opened. */
const char *path_map(const char *path, char buffer[4096], bool opening);

/* ---- descriptors (files.c) */

enum file_kind { FILE_DRM, FILE_BUFFER, FILE_SYNC, FILE_SYNCOBJ };

/* An open file: descriptors that dup made share one. The release function is called with the lock held. */
struct file {
    enum file_kind kind;
    int references;
    void *object;
    void (*release)(void *object);
    bool writable;
};

/* Makes a descriptor; takes over the reference to the object. -errno when it cannot. Lock held. */
int file_install(enum file_kind kind, void *object, void (*release)(void *), bool close_on_exec);
/* Borrowed while the lock is held; NULL if fd is not ours. */
struct file *file_get(int fd);
void *file_object(int fd, enum file_kind kind);
bool file_ours(int fd);

#endif
