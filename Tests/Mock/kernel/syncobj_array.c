/* SPDX-License-Identifier: MIT */
/* The sync object ioctls that take an array of handles: waits, reset, signal, query. */
#include "scheduler.h"
#include "syncobj.h"

/* The sync objects that a call names, with a reference each. */
struct list {
    struct syncobj **objects;
    uint64_t *points; /* NULL: binary */
    uint32_t count;
};

static void list_free(struct list *list) {
    for (uint32_t i = 0; i < list->count; i++)
        if (list->objects[i]) syncobj_put(list->objects[i]);
    free(list->objects);
    free(list->points);
}

static int list_read(struct drm_file *file, struct list *list, uint64_t handles, uint64_t points, uint32_t count) {
    int error;
    *list = (struct list){0};
    if (count == 0) return -EINVAL;
    uint32_t *numbers = copy_array(handles, count, sizeof *numbers, &error);
    if (error) return error;
    list->objects = calloc(count, sizeof *list->objects);
    list->count = count;
    if (!list->objects) error = -ENOMEM, list->count = 0;
    for (uint32_t i = 0; i < count && !error; i++) {
        struct syncobj *syncobj = syncobj_lookup(file, numbers[i]);
        if (syncobj) list->objects[i] = syncobj_get(syncobj);
        else error = -ENOENT;
    }
    free(numbers);
    if (!error && points) list->points = copy_array(points, count, sizeof *list->points, &error);
    if (error) list_free(list);
    return error;
}

/* Whether entry i is over; *missing: it has no fence yet. */
static bool over(struct list *list, uint32_t i, bool available, bool *missing) {
    struct fence *fence = syncobj_find(list->objects[i], list->points ? list->points[i] : 0);
    *missing = !fence;
    bool result = fence && (available || fence->signalled);
    fence_put(fence);
    return result;
}

static int wait_for(struct list *list, uint64_t deadline_ns, uint32_t flags, uint32_t *first) {
    bool all = flags & UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL;
    bool available = flags & UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE;
    bool submit = available || (flags & UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT);
    for (bool again = true, late = false;; again = !late) {
        uint32_t done = 0;
        for (uint32_t i = 0; i < list->count; i++) {
            bool missing;
            if (over(list, i, available, &missing)) {
                if (done++ == 0) *first = i;
            } else if (missing && !submit) {
                return -EINVAL;
            }
        }
        if (done == list->count || (done && !all)) return 0;
        if (!again) return -ETIME;
        if (deadline_ns == 0) {
            // A poll lets work go on in the schedule that has no thread.
            scheduler_step(0);
            late = true;
        } else if (!scheduler_step(deadline_ns)) {
            enum wait_result waited = kernel_wait(deadline_ns);
            late = waited == WAIT_LATE;
            if (waited == WAIT_INTERRUPTED) return -EINTR;
        }
    }
}

/* The kernel's signed absolute time: negative is over, the largest is for ever. */
static uint64_t deadline(int64_t ns) { return ns < 0 ? 0 : ns == INT64_MAX ? UINT64_MAX : (uint64_t)ns; }

int syncobj_wait_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_wait *args = data;
    struct list list;
    if (args->flags & ~(UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL | UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT |
                        UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE))
        return -EINVAL;
    int error = list_read(file, &list, args->handles, 0, args->count_handles);
    if (error) return error;
    error = wait_for(&list, deadline(args->timeout_nsec), args->flags, &args->first_signaled);
    list_free(&list);
    return error;
}

int syncobj_timeline_wait_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_timeline_wait *args = data;
    struct list list;
    if (args->flags & ~(UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_ALL | UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT |
                        UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_AVAILABLE |
                        UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_DEADLINE))
        return -EINVAL;
    int error = list_read(file, &list, args->handles, args->points, args->count_handles);
    if (error) return error;
    error = wait_for(&list, deadline(args->timeout_nsec), args->flags, &args->first_signaled);
    list_free(&list);
    return error;
}

static int change(struct drm_file *file, void *data, bool signal) {
    struct unbind_drm_syncobj_array *args = data;
    struct list list;
    if (args->pad) return -EINVAL;
    int error = list_read(file, &list, args->handles, 0, args->count_handles);
    if (error) return error;
    struct fence *fence = signal ? fence_new_signalled() : NULL;
    for (uint32_t i = 0; i < list.count; i++) syncobj_replace(list.objects[i], fence);
    fence_put(fence);
    list_free(&list);
    return 0;
}

int syncobj_reset_ioctl(struct drm_file *file, void *data) { return change(file, data, false); }
int syncobj_signal_ioctl(struct drm_file *file, void *data) { return change(file, data, true); }

int syncobj_timeline_signal_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_timeline_array *args = data;
    struct list list;
    if (args->flags) return -EINVAL;
    int error = list_read(file, &list, args->handles, args->points, args->count_handles);
    if (error) return error;
    struct fence *fence = fence_new_signalled();
    for (uint32_t i = 0; i < list.count; i++)
        syncobj_add_point(list.objects[i], fence, list.points ? list.points[i] : 0);
    fence_put(fence);
    list_free(&list);
    return 0;
}

int syncobj_query_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_syncobj_timeline_array *args = data;
    struct list list;
    if (args->flags & ~UNBIND_DRM_SYNCOBJ_QUERY_FLAGS_LAST_SUBMITTED) return -EINVAL;
    int error = list_read(file, &list, args->handles, 0, args->count_handles);
    if (error) return error;
    for (uint32_t i = 0; i < list.count && !error; i++) {
        uint64_t point = syncobj_reached(list.objects[i], args->flags);
        error = copy_to_user(args->points + i * sizeof point, &point, sizeof point);
    }
    list_free(&list);
    return error;
}
