/* SPDX-License-Identifier: MIT */
/*
 * Descriptors. Each one of the mock's is a real descriptor too (an eventfd or an
 * empty memfd), so that numbers, close-on-exec, poll and dup are the kernel's own;
 * the table says what it stands for.
 */
#include "files.h"

#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>

#include "drm.h"
#include "gem.h"
#include "host.h"
#include "scheduler.h"
#include "sync_file.h"

#define MOST_FDS 65536
/* Written with the lock held; read without it, where only "ours or not" counts. */
static _Atomic(struct file *) table[MOST_FDS];

bool file_ours(int fd) { return fd >= 0 && fd < MOST_FDS && atomic_load_explicit(&table[fd], memory_order_acquire); }

struct file *file_get(int fd) { return fd >= 0 && fd < MOST_FDS ? atomic_load(&table[fd]) : NULL; }

void *file_object(int fd, enum file_kind kind) {
    struct file *file = file_get(fd);
    return file && file->kind == kind ? file->object : NULL;
}

int file_install(enum file_kind kind, void *object, void (*release)(void *), bool close_on_exec) {
    struct file *file = calloc(1, sizeof *file);
    int fd = -1;
    if (file) {
        // A sync file becomes readable when it has signalled; a buffer's descriptor has a size.
        if (kind == FILE_BUFFER) fd = memfd_create("unbind-mock-buffer", close_on_exec ? MFD_CLOEXEC : 0);
        else fd = eventfd(0, EFD_NONBLOCK | (close_on_exec ? EFD_CLOEXEC : 0));
    }
    if (fd < 0 || fd >= MOST_FDS) {
        int error = fd >= 0 || !file ? ENOMEM : errno;
        if (fd >= 0) real()->close(fd);
        free(file);
        return -error;
    }
    *file = (struct file){.kind = kind, .references = 1, .object = object, .release = release, .writable = true};
    atomic_store_explicit(&table[fd], file, memory_order_release);
    return fd;
}

static void forget(int fd) {
    struct file *file = atomic_exchange(&table[fd], NULL);
    if (!file || --file->references) return;
    file->release(file->object);
    free(file);
}

int files_open_node(unsigned node, bool render, int flags) {
    if (config.nodes_denied) {
        errno = EACCES;
        return -1;
    }
    kernel_lock();
    struct drm_file *object = drm_file_open(node, render);
    int fd = object ? file_install(FILE_DRM, object, drm_file_release, flags & O_CLOEXEC) : -ENOMEM;
    if (fd < 0 && object) drm_file_release(object);
    kernel_unlock();
    if (fd >= 0) return fd;
    errno = -fd;
    return -1;
}

bool files_stat_node(int fd, struct stat *status) {
    if (!file_ours(fd)) return false;
    kernel_lock();
    struct drm_file *file = file_object(fd, FILE_DRM);
    if (file) {
        unsigned minor = file->device->index + (file->render ? 128 : 0);
        *status = (struct stat){.st_mode = S_IFCHR | 0660, .st_rdev = makedev(226, minor), .st_nlink = 1,
                                .st_blksize = 4096, .st_dev = 6, .st_ino = 300 + minor};
    }
    kernel_unlock();
    return file;
}

void files_close(int fd) {
    kernel_lock();
    forget(fd);
    kernel_unlock();
}

void files_close_range(unsigned first, unsigned last) {
    kernel_lock();
    for (unsigned fd = first; fd <= last && fd < MOST_FDS; fd++) forget((int)fd);
    kernel_unlock();
}

int files_duplicated(int from, int to) {
    if (to < 0 || to >= MOST_FDS || from == to) return to;
    if (!file_ours(from) && !file_ours(to)) return to;
    kernel_lock();
    struct file *file = file_get(from);
    if (file) file->references++;
    forget(to);
    atomic_store(&table[to], file);
    kernel_unlock();
    return to;
}

int files_ioctl(int fd, unsigned long request, void *argument) {
    kernel_lock();
    struct file *file = file_get(fd);
    int result = -EBADF;
    if (file) {
        // The open file outlives the call even if another thread closes the descriptor meanwhile.
        file->references++;
        kernel_unlock();
        if (file->kind == FILE_DRM) result = drm_dispatch(file->object, fd, request, argument);
        else if (file->kind == FILE_SYNC) result = sync_file_ioctl(file->object, request, argument);
        else if (file->kind == FILE_BUFFER) result = gem_buffer_ioctl(request);
        else result = -ENOTTY;
        kernel_lock();
        if (--file->references == 0) {
            file->release(file->object);
            free(file);
        }
    }
    kernel_unlock();
    return result;
}

int files_find_mapping(int fd, uint64_t offset, size_t length, int protection, int flags, off_t *place, int *memory) {
    int error = -config_failure("mmap");
    uint64_t found = 0;
    kernel_lock();
    struct file *file = file_get(fd);
    if (error) {}
    else if (!file) error = -EBADF;
    else if (file->kind == FILE_DRM) error = gem_find_mapping(file->object, offset, length, &found);
    else if (file->kind == FILE_BUFFER) error = gem_buffer_mapping(file->object, offset, length, &found);
    else error = -ENODEV;
    if (!error && (flags & MAP_TYPE) == MAP_PRIVATE) error = -EINVAL;
    if (!error && (protection & PROT_WRITE) && !file->writable) error = -EACCES;
    *place = (off_t)found;
    *memory = gem_arena();
    kernel_unlock();
    log_line("mmap fd=%d offset=0x%llx length=0x%zx result=%d", fd, (unsigned long long)offset, length, error);
    return error;
}

__attribute__((constructor(101))) static void start(void) {
    real();
    config_read();
    if (config.enabled) tree_make();
}

/* For test programs: the environment is read again and the machine made anew. No descriptor may be open. */
void unbind_mock_restart(void);
void unbind_mock_restart(void) {
    scheduler_stop();
    if (config.enabled) tree_remove();
    unsetenv("UNBIND_MOCK_TREE");
    config_read();
    drm_restart();
    scheduler_restart();
    if (config.enabled) tree_make();
}

/* For test programs: UNBIND_MOCK_FAIL is read again, and its calls are counted from here on. At any time. */
void unbind_mock_fail_anew(void);
void unbind_mock_fail_anew(void) { config_read_failures(); }

__attribute__((destructor)) static void stop(void) {
    if (!config.enabled) return;
    scheduler_stop();
    if (drm_open_files()) log_line("exit open=%u", drm_open_files());
    tree_remove();
}
