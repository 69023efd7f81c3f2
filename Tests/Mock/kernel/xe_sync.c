/* SPDX-License-Identifier: MIT */
/* The syncs of a VM_BIND or EXEC: what to wait for and what to signal. */
#include "xe.h"

static int read_one(struct drm_file *file, struct xe_syncs *syncs, const struct unbind_drm_xe_sync *from,
                    bool long_running, bool for_bind) {
    struct xe_sync *sync = &syncs->list[syncs->count];
    if (from->extensions || !RESERVED_ZERO(from->reserved)) return -EINVAL;
    if (from->flags & ~UNBIND_DRM_XE_SYNC_FLAG_SIGNAL) return -EINVAL;
    *sync = (struct xe_sync){.type = from->type, .signal = from->flags};
    if (from->type == UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE) {
        if (!sync->signal) return -EOPNOTSUPP;
        if (from->addr % 8 || syncs->user) return -EINVAL;
        // Of a bind it is a place in the process, which must be there now.
        uint64_t word;
        if (for_bind && copy_from_user(&word, from->addr, sizeof word)) return -EFAULT;
        sync->address = from->addr;
        sync->value = from->timeline_value;
        syncs->user = sync;
        syncs->count++;
        return 0;
    }
    if (from->type > UNBIND_DRM_XE_SYNC_TYPE_USER_FENCE) return -EINVAL;
    if (sync->signal && long_running) return -EOPNOTSUPP;
    struct syncobj *syncobj = syncobj_lookup(file, from->handle);
    if (!syncobj) return -ENOENT;
    if (from->type == UNBIND_DRM_XE_SYNC_TYPE_TIMELINE_SYNCOBJ) {
        sync->point = from->timeline_value;
        if (!sync->point && sync->signal) return -EINVAL;
    }
    if (!sync->signal) {
        sync->wait = syncobj_find(syncobj, sync->point);
        if (!sync->wait) return -EINVAL;
    }
    sync->syncobj = syncobj_get(syncobj);
    syncs->count++;
    return 0;
}

int xe_syncs_read(struct drm_file *file, struct xe_syncs *syncs, uint64_t address, uint32_t count,
                  bool long_running, bool for_bind) {
    *syncs = (struct xe_syncs){0};
    if (count > UNBIND_DRM_XE_MAX_SYNCS) return -EINVAL;
    int error;
    struct unbind_drm_xe_sync *from = copy_array(address, count, sizeof *from, &error);
    if (error) return error;
    syncs->list = calloc(count + 1, sizeof *syncs->list);
    if (!syncs->list) error = -ENOMEM;
    for (uint32_t i = 0; i < count && !error; i++) error = read_one(file, syncs, &from[i], long_running, for_bind);
    free(from);
    if (error) xe_syncs_free(syncs);
    return error;
}

void xe_syncs_attach(struct xe_syncs *syncs, struct job *job) {
    // All waits first: a call may wait for a point and replace it.
    for (unsigned i = 0; i < syncs->count; i++)
        if (!lies(LIE_IGNORE_IN_FENCE)) job_await(job, syncs->list[i].wait);
    struct fence *early = lies(LIE_SIGNAL_EARLY) ? fence_new_signalled() : NULL;
    for (unsigned i = 0; i < syncs->count; i++) {
        struct xe_sync *sync = &syncs->list[i];
        if (!sync->signal || !sync->syncobj) continue;
        if (sync->point) syncobj_add_point(sync->syncobj, early ? early : job->done, sync->point);
        else syncobj_replace(sync->syncobj, early ? early : job->done);
    }
    fence_put(early);
}

void xe_syncs_free(struct xe_syncs *syncs) {
    for (unsigned i = 0; i < syncs->count; i++) {
        fence_put(syncs->list[i].wait);
        if (syncs->list[i].syncobj) syncobj_put(syncs->list[i].syncobj);
    }
    free(syncs->list);
    *syncs = (struct xe_syncs){0};
}
