/* SPDX-License-Identifier: MIT */
#include "syncobj.h"

#include "gem.h"
#include "scheduler.h"
#include "sync_file.h"

struct syncobj_waiter {
    struct fence_callback callback;
    struct syncobj_waiter *next;
    uint64_t point;
    bool available; /* enough that the point has a fence */
    int fd;         /* our own copy of the eventfd */
};

struct syncobj *syncobj_lookup(struct drm_file *file, uint32_t handle) { return handles_get(&file->syncobjs, handle); }

struct syncobj *syncobj_get(struct syncobj *syncobj) {
    syncobj->references++;
    return syncobj;
}

static void drop_points(struct syncobj *syncobj) {
    for (unsigned i = syncobj->first; i < syncobj->count; i++) fence_put(syncobj->points[i].fence);
    syncobj->first = syncobj->count = 0;
    syncobj->signalled = 0;
}

static void close_waiter(struct syncobj_waiter *waiter) {
    real()->close(waiter->fd);
    free(waiter);
}

void syncobj_put(struct syncobj *syncobj) {
    if (--syncobj->references) return;
    drop_points(syncobj);
    fence_put(syncobj->fence);
    free(syncobj->points);
    for (struct syncobj_waiter *waiter = syncobj->waiters, *next; waiter; waiter = next) {
        next = waiter->next;
        close_waiter(waiter);
    }
    free(syncobj);
}

/* Forgets points that have signalled, but for the value of the newest. */
static void collapse(struct syncobj *syncobj) {
    while (syncobj->first < syncobj->count && syncobj->points[syncobj->first].fence->signalled) {
        struct syncobj_point *point = &syncobj->points[syncobj->first++];
        if (point->value > syncobj->signalled) syncobj->signalled = point->value;
        fence_put(point->fence);
    }
    if (syncobj->first == syncobj->count) syncobj->first = syncobj->count = 0;
}

static uint64_t newest_point(struct syncobj *syncobj) {
    collapse(syncobj);
    return syncobj->first < syncobj->count ? syncobj->points[syncobj->count - 1].value : syncobj->signalled;
}

uint64_t syncobj_reached(struct syncobj *syncobj, bool submitted) {
    if (!syncobj->timeline) return 0;
    uint64_t newest = newest_point(syncobj);
    return submitted ? newest : syncobj->signalled;
}

struct fence *syncobj_find(struct syncobj *syncobj, uint64_t point) {
    if (!syncobj->fence) return NULL;
    if (point == 0) return fence_get(syncobj->fence);
    if (!syncobj->timeline || newest_point(syncobj) < point) return NULL;
    if (point <= syncobj->signalled) return fence_new_signalled();
    for (unsigned i = syncobj->first; i < syncobj->count; i++)
        if (syncobj->points[i].value >= point) return fence_get(syncobj->points[i].fence);
    return fence_new_signalled();
}

/* ---- eventfds */

static void ring(struct syncobj_waiter *waiter) {
    uint64_t one = 1;
    ssize_t written = write(waiter->fd, &one, sizeof one);
    (void)written;
    close_waiter(waiter);
}

static void fence_rings(struct fence_callback *callback) { ring((struct syncobj_waiter *)callback); }

/* true: the waiter has its fence, or has been rung; it is no longer the sync object's. */
static bool settle(struct syncobj *syncobj, struct syncobj_waiter *waiter) {
    struct fence *fence = syncobj_find(syncobj, waiter->point);
    if (!fence) return false;
    waiter->callback.run = fence_rings;
    if (waiter->available || !fence_add_callback(fence, &waiter->callback)) ring(waiter);
    fence_put(fence);
    return true;
}

static void submitted(struct syncobj *syncobj) {
    for (struct syncobj_waiter **place = &syncobj->waiters, *waiter; (waiter = *place) != NULL;) {
        struct syncobj_waiter *next = waiter->next;
        if (settle(syncobj, waiter)) *place = next;
        else place = &waiter->next;
    }
    kernel_changed();
}

void syncobj_replace(struct syncobj *syncobj, struct fence *fence) {
    if (fence) fence_get(fence);
    drop_points(syncobj);
    fence_put(syncobj->fence);
    syncobj->fence = fence;
    syncobj->timeline = false;
    submitted(syncobj);
}

void syncobj_add_point(struct syncobj *syncobj, struct fence *fence, uint64_t point) {
    struct fence *both[] = {syncobj->fence, fence};
    struct fence *joined = fence_join(both, 2);
    uint64_t newest = newest_point(syncobj);
    if (point < newest) point = newest; // going back is useless, not wrong
    if (syncobj->first && syncobj->count == syncobj->capacity) {
        memmove(syncobj->points, syncobj->points + syncobj->first,
                (syncobj->count - syncobj->first) * sizeof *syncobj->points);
        syncobj->count -= syncobj->first;
        syncobj->first = 0;
    }
    if (syncobj->count == syncobj->capacity) {
        syncobj->capacity = syncobj->capacity ? syncobj->capacity * 2 : 8;
        syncobj->points = realloc(syncobj->points, syncobj->capacity * sizeof *syncobj->points);
        if (!syncobj->points) abort();
    }
    syncobj->points[syncobj->count++] = (struct syncobj_point){point, fence_get(joined)};
    fence_put(syncobj->fence);
    syncobj->fence = joined;
    syncobj->timeline = true;
    submitted(syncobj);
}

void syncobj_file_release(struct drm_file *file) {
    for (uint32_t i = 0; i < file->syncobjs.capacity; i++)
        if (file->syncobjs.entries[i]) syncobj_put(file->syncobjs.entries[i]);
}

/* ---- the ioctls for one sync object */

static struct syncobj *create(uint32_t signalled) {
    struct syncobj *syncobj = calloc(1, sizeof *syncobj);
    if (!syncobj) return NULL;
    syncobj->references = 1;
    if (signalled) syncobj->fence = fence_new_signalled();
    return syncobj;
}

static int create_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_create *args = data;
    if (args->flags & ~UNBIND_DRM_SYNCOBJ_CREATE_SIGNALED) return -EINVAL;
    struct syncobj *syncobj = create(args->flags);
    args->handle = syncobj ? handles_add(&file->syncobjs, syncobj) : 0;
    if (args->handle) return 0;
    if (syncobj) syncobj_put(syncobj);
    return -ENOMEM;
}

static int destroy_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_destroy *args = data;
    if (args->pad) return -EINVAL;
    struct syncobj *syncobj = handles_remove(&file->syncobjs, args->handle);
    if (!syncobj) return -EINVAL;
    syncobj_put(syncobj);
    return 0;
}

static void syncobj_file_closed(void *object) { syncobj_put(object); }

static int to_fd_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_handle *args = data;
    if (args->pad || (args->flags & ~UNBIND_DRM_SYNCOBJ_HANDLE_TO_FD_FLAGS_EXPORT_SYNC_FILE)) return -EINVAL;
    struct syncobj *syncobj = syncobj_lookup(file, args->handle);
    if (!syncobj) return args->flags ? -ENOENT : -EINVAL;
    int fd;
    if (args->flags) {
        struct fence *fence = syncobj_find(syncobj, 0);
        if (!fence) return -EINVAL;
        fd = sync_file_create(fence);
        fence_put(fence);
    } else {
        fd = file_install(FILE_SYNCOBJ, syncobj_get(syncobj), syncobj_file_closed, true);
        if (fd < 0) syncobj_put(syncobj);
    }
    if (fd < 0) return fd;
    args->fd = fd;
    return 0;
}

static int from_fd_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_handle *args = data;
    if (args->pad || (args->flags & ~UNBIND_DRM_SYNCOBJ_FD_TO_HANDLE_FLAGS_IMPORT_SYNC_FILE)) return -EINVAL;
    if (args->flags) {
        struct fence *fence = sync_file_fence(args->fd);
        if (!fence) return -EINVAL;
        struct syncobj *syncobj = syncobj_lookup(file, args->handle);
        if (!syncobj) return -ENOENT;
        syncobj_replace(syncobj, fence);
        return 0;
    }
    struct syncobj *syncobj = file_object(args->fd, FILE_SYNCOBJ);
    if (!syncobj) return -EINVAL;
    args->handle = handles_add(&file->syncobjs, syncobj);
    if (!args->handle) return -ENOMEM;
    syncobj_get(syncobj);
    return 0;
}

static int transfer_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_transfer *args = data;
    if (args->pad || (args->flags & ~UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT)) return -EINVAL;
    struct syncobj *from = syncobj_lookup(file, args->src_handle), *to = syncobj_lookup(file, args->dst_handle);
    if (!from || !to) return -ENOENT;
    syncobj_get(from), syncobj_get(to);
    struct fence *fence;
    int error = 0;
    while (!(fence = syncobj_find(from, args->src_point)) && args->flags && !error)
        if (!scheduler_step(UINT64_MAX) && kernel_wait(UINT64_MAX) == WAIT_INTERRUPTED) error = -EINTR;
    if (fence && args->dst_point) syncobj_add_point(to, fence, args->dst_point);
    else if (fence) syncobj_replace(to, fence);
    fence_put(fence);
    syncobj_put(from), syncobj_put(to);
    return error ? error : fence ? 0 : -EINVAL;
}

static int eventfd_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_eventfd *args = data;
    if ((args->flags & ~UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE) || args->pad) return -EINVAL;
    struct syncobj *syncobj = syncobj_lookup(file, args->handle);
    if (!syncobj) return -ENOENT;
    struct syncobj_waiter *waiter = calloc(1, sizeof *waiter);
    int fd = waiter ? real()->fcntl(args->fd, F_DUPFD_CLOEXEC, 900) : -1;
    if (fd < 0) {
        free(waiter);
        return waiter ? -EBADF : -ENOMEM;
    }
    *waiter = (struct syncobj_waiter){.point = args->point, .available = args->flags, .fd = fd};
    if (settle(syncobj, waiter)) return 0;
    waiter->next = syncobj->waiters;
    syncobj->waiters = waiter;
    return 0;
}

const struct ioctl_entry syncobj_ioctls[] = {
    {"SYNCOBJ_CREATE", UNBIND_DRM_IOCTL_SYNCOBJ_CREATE, create_ioctl},
    {"SYNCOBJ_DESTROY", UNBIND_DRM_IOCTL_SYNCOBJ_DESTROY, destroy_ioctl},
    {"SYNCOBJ_HANDLE_TO_FD", UNBIND_DRM_IOCTL_SYNCOBJ_HANDLE_TO_FD, to_fd_ioctl},
    {"SYNCOBJ_FD_TO_HANDLE", UNBIND_DRM_IOCTL_SYNCOBJ_FD_TO_HANDLE, from_fd_ioctl},
    {"SYNCOBJ_TRANSFER", UNBIND_DRM_IOCTL_SYNCOBJ_TRANSFER, transfer_ioctl},
    {"SYNCOBJ_EVENTFD", UNBIND_DRM_IOCTL_SYNCOBJ_EVENTFD, eventfd_ioctl},
    {"SYNCOBJ_WAIT", UNBIND_DRM_IOCTL_SYNCOBJ_WAIT, syncobj_wait_ioctl},
    {"SYNCOBJ_TIMELINE_WAIT", UNBIND_DRM_IOCTL_SYNCOBJ_TIMELINE_WAIT, syncobj_timeline_wait_ioctl},
    {"SYNCOBJ_RESET", UNBIND_DRM_IOCTL_SYNCOBJ_RESET, syncobj_reset_ioctl},
    {"SYNCOBJ_SIGNAL", UNBIND_DRM_IOCTL_SYNCOBJ_SIGNAL, syncobj_signal_ioctl},
    {"SYNCOBJ_TIMELINE_SIGNAL", UNBIND_DRM_IOCTL_SYNCOBJ_TIMELINE_SIGNAL, syncobj_timeline_signal_ioctl},
    {"SYNCOBJ_QUERY", UNBIND_DRM_IOCTL_SYNCOBJ_QUERY, syncobj_query_ioctl},
    {0},
};
