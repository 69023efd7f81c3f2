/* SPDX-License-Identifier: MIT */
#include "sync_file.h"

#include <linux/sync_file.h>

#include "drm.h"
#include "host.h"

/* A sync file; the callback's record lives as long as the fence needs it. */
struct sync_file {
    struct fence *fence;
    struct wake {
        struct fence_callback callback;
        int fd; /* -1: the file is closed */
    } *wake;
};

static void make_readable(int fd) {
    uint64_t one = 1;
    ssize_t written = write(fd, &one, sizeof one);
    (void)written;
}

static void wake_up(struct fence_callback *callback) {
    struct wake *wake = (struct wake *)callback;
    if (wake->fd >= 0) {
        make_readable(wake->fd);
        real()->close(wake->fd);
    }
    free(wake);
}

static void release(void *object) {
    struct sync_file *file = object;
    // Not yet signalled: the record is the fence's.
    if (!file->fence->signalled && file->wake->fd >= 0) {
        real()->close(file->wake->fd);
        file->wake->fd = -1;
    }
    fence_put(file->fence);
    free(file);
}

int sync_file_create(struct fence *fence) {
    struct sync_file *file = calloc(1, sizeof *file);
    if (!file) return -ENOMEM;
    file->fence = fence_get(fence);
    int fd = file_install(FILE_SYNC, file, release, true);
    if (fd < 0) {
        fence_put(fence);
        free(file);
        return fd;
    }
    file_get(fd)->writable = false;
    if (fence->signalled) {
        make_readable(fd);
        return fd;
    }
    file->wake = calloc(1, sizeof *file->wake);
    if (!file->wake) abort();
    file->wake->callback.run = wake_up;
    // The program may close its descriptor or give the number away: this one is ours.
    file->wake->fd = real()->fcntl(fd, F_DUPFD_CLOEXEC, 900);
    fence_add_callback(fence, &file->wake->callback);
    return fd;
}

struct fence *sync_file_fence(int fd) {
    struct sync_file *file = file_object(fd, FILE_SYNC);
    return file ? file->fence : NULL;
}

static int file_info(struct sync_file *file, void *argument) {
    struct sync_file_info info;
    int error = copy_from_user(&info, (uintptr_t)argument, sizeof info);
    if (error) return error;
    if (info.flags || info.pad) return -EINVAL;
    int status = !file->fence->signalled ? 0 : file->fence->error ? file->fence->error : 1;
    if (info.num_fences && info.sync_fence_info) {
        struct sync_fence_info fence = {.status = status, .timestamp_ns = file->fence->timestamp_ns};
        strcpy(fence.obj_name, "mock");
        strcpy(fence.driver_name, "mock");
        error = copy_to_user(info.sync_fence_info, &fence, sizeof fence);
        if (error) return error;
    }
    memset(info.name, 0, sizeof info.name);
    strcpy(info.name, "mock");
    info.status = status;
    info.num_fences = 1;
    return copy_to_user((uintptr_t)argument, &info, sizeof info);
}

static int merge(struct sync_file *file, void *argument) {
    struct sync_merge_data data;
    int error = copy_from_user(&data, (uintptr_t)argument, sizeof data);
    if (error) return error;
    if (data.flags || data.pad) return -EINVAL;
    struct fence *other = sync_file_fence(data.fd2);
    if (!other) return -ENOENT;
    struct fence *both[] = {file->fence, other};
    struct fence *joined = fence_join(both, 2);
    data.fence = sync_file_create(joined);
    fence_put(joined);
    if (data.fence < 0) return data.fence;
    return copy_to_user((uintptr_t)argument, &data, sizeof data);
}

int sync_file_ioctl(void *object, unsigned long request, void *argument) {
    kernel_lock();
    int result = -ENOTTY;
    if (request == SYNC_IOC_FILE_INFO) result = file_info(object, argument);
    if (request == SYNC_IOC_MERGE) result = merge(object, argument);
    kernel_unlock();
    return result;
}
