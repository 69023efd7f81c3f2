/* SPDX-License-Identifier: MIT */
/*
 * Open files, handles, and the ioctls that every DRM driver has: version,
 * capabilities, closing of handles, prime. And the way from a request number to
 * its handler, as drm_ioctl goes it: by number alone, with the structure cut or
 * filled with zeros to the size that the kernel knows.
 */
#include <sys/ioctl.h>
#include <sys/uio.h>

#include "drm.h"
#include "gem.h"

static struct drm_device devices[8];

uint32_t handles_add(struct handles *handles, void *entry) {
    uint32_t i = 0;
    while (i < handles->capacity && handles->entries[i]) i++;
    if (i == handles->capacity) {
        uint32_t capacity = handles->capacity ? handles->capacity * 2 : 16;
        void **entries = realloc(handles->entries, capacity * sizeof *entries);
        if (!entries) return 0;
        memset(entries + handles->capacity, 0, (capacity - handles->capacity) * sizeof *entries);
        handles->entries = entries;
        handles->capacity = capacity;
    }
    handles->entries[i] = entry;
    return i + 1;
}

void *handles_get(const struct handles *handles, uint32_t handle) {
    return handle && handle <= handles->capacity ? handles->entries[handle - 1] : NULL;
}

void *handles_remove(struct handles *handles, uint32_t handle) {
    void *entry = handles_get(handles, handle);
    if (entry) handles->entries[handle - 1] = NULL;
    return entry;
}

void handles_free(struct handles *handles) {
    free(handles->entries);
    *handles = (struct handles){0};
}

/* ---- user memory */

int copy_from_user(void *to, uint64_t from, size_t size) {
    if (size == 0) return 0;
    struct iovec here = {to, size}, there = {(void *)(uintptr_t)from, size};
    ssize_t copied = process_vm_readv(getpid(), &here, 1, &there, 1, 0);
    if (copied == (ssize_t)size) return 0;
    // Forbidden by the sandbox: then a bad pointer crashes, as it does in most programs.
    if (copied < 0 && (errno == EPERM || errno == ENOSYS) && from) return memcpy(to, there.iov_base, size), 0;
    return -EFAULT;
}

int copy_to_user(uint64_t to, const void *from, size_t size) {
    if (size == 0) return 0;
    char probe;
    if (copy_from_user(&probe, to, 1) != 0 || copy_from_user(&probe, to + size - 1, 1) != 0) return -EFAULT;
    memcpy((void *)(uintptr_t)to, from, size);
    return 0;
}

void *copy_array(uint64_t from, size_t count, size_t size, int *error) {
    *error = 0;
    if (count == 0) return NULL;
    void *array = count > SIZE_MAX / 2 / size ? NULL : malloc(count * size);
    if (!array) *error = -ENOMEM;
    else *error = copy_from_user(array, from, count * size);
    if (!*error) return array;
    free(array);
    return NULL;
}

/* ---- open files */

struct drm_file *drm_file_open(unsigned node, bool render) {
    const struct pci_model *pci = machine_node(node);
    struct drm_file *file = calloc(1, sizeof *file);
    if (!file) return NULL;
    struct drm_device *device = &devices[node];
    device->index = node;
    device->model = pci->gpu;
    device->open_files++;
    file->device = device;
    file->render = render;
    return file;
}

unsigned drm_open_files(void) {
    unsigned count = 0;
    for (size_t i = 0; i < sizeof devices / sizeof devices[0]; i++) count += (unsigned)devices[i].open_files;
    return count;
}

void drm_restart(void) { memset(devices, 0, sizeof devices); }

static unsigned open_handles(const struct handles *handles) {
    unsigned count = 0;
    for (uint32_t i = 0; i < handles->capacity; i++) count += handles->entries[i] != NULL;
    return count;
}

void drm_file_release(void *object) {
    struct drm_file *file = object;
    // What the program left to the kernel to clean up.
    log_line("close node=%u objects=%u syncobjs=%u vms=%u queues=%u", file->device->index,
             open_handles(&file->objects), open_handles(&file->syncobjs), open_handles(&file->vms),
             open_handles(&file->queues));
    if (file->device->model->driver == DRIVER_XE) xe_file_release(file);
    if (file->device->model->driver == DRIVER_I915) i915_file_release(file);
    gem_file_release(file);
    syncobj_file_release(file);
    handles_free(&file->objects);
    handles_free(&file->syncobjs);
    handles_free(&file->vms);
    handles_free(&file->queues);
    file->device->open_files--;
    free(file);
    kernel_changed();
}

/* ---- the ioctls */

static int put_string(char *to, size_t *length, const char *text) {
    size_t size = strlen(text), room = *length;
    *length = size;
    if (to && room) return copy_to_user((uint64_t)(uintptr_t)to, text, room < size ? room : size);
    return 0;
}

static int version(struct drm_file *file, void *data) {
    struct unbind_drm_version *version = data;
    static const struct {
        int major, minor;
        const char *name, *date, *description;
    } drivers[] = {
        [DRIVER_I915] = {1, 6, "i915", "20201103", "Intel Graphics"},
        [DRIVER_XE] = {1, 1, "xe", "20201103", "Intel Xe2 Graphics"},
        // No date: what drmGetVersion of libdrm 2.4.114 does not survive.
        [DRIVER_OTHER] = {3, 57, "amdgpu", "", "AMD GPU"},
    };
    enum driver driver = file->device->model->driver;
    version->version_major = drivers[driver].major;
    version->version_minor = drivers[driver].minor;
    version->version_patchlevel = 0;
    int error = put_string(version->name, &version->name_len, drivers[driver].name);
    if (!error) error = put_string(version->date, &version->date_len, drivers[driver].date);
    if (!error) error = put_string(version->desc, &version->desc_len, drivers[driver].description);
    return error;
}

static int get_cap(struct drm_file *file, void *data) {
    struct unbind_drm_get_cap *cap = data;
    (void)file;
    switch (cap->capability) {
    case UNBIND_DRM_CAP_PRIME: cap->value = 3; return 0;
    case UNBIND_DRM_CAP_SYNCOBJ:
    case UNBIND_DRM_CAP_SYNCOBJ_TIMELINE: cap->value = 1; return 0;
    case 6: cap->value = 1; return 0; // monotonic time stamps
    default: return -EINVAL;
    }
}

const struct ioctl_entry drm_ioctls[] = {
    {"VERSION", UNBIND_DRM_IOCTL_VERSION, version},
    {"GET_CAP", UNBIND_DRM_IOCTL_GET_CAP, get_cap},
    {"GEM_CLOSE", UNBIND_DRM_IOCTL_GEM_CLOSE, gem_close_ioctl},
    {"PRIME_HANDLE_TO_FD", UNBIND_DRM_IOCTL_PRIME_HANDLE_TO_FD, gem_prime_export_ioctl},
    {"PRIME_FD_TO_HANDLE", UNBIND_DRM_IOCTL_PRIME_FD_TO_HANDLE, gem_prime_import_ioctl},
    {0},
};

static const struct ioctl_entry *find(const struct ioctl_entry *entry, unsigned long request) {
    for (; entry->name; entry++)
        if (_IOC_NR(entry->request) == _IOC_NR(request)) return entry;
    return NULL;
}

static const struct ioctl_entry *find_ioctl(struct drm_file *file, unsigned long request) {
    const struct ioctl_entry *entry = find(drm_ioctls, request);
    if (!entry) entry = find(syncobj_ioctls, request);
    if (!entry && file->device->model->driver == DRIVER_XE) entry = find(xe_ioctls, request);
    if (!entry && file->device->model->driver == DRIVER_I915) entry = find(i915_ioctls, request);
    return entry;
}

/* The structure as the kernel knows it: handlers see this many bytes, whatever the caller's header said. */
#define MOST_BYTES 256

static int call(const struct ioctl_entry *entry, struct drm_file *file, unsigned long request, void *argument) {
    uint64_t data[MOST_BYTES / 8] = {0};
    size_t given = _IOC_SIZE(request), known = _IOC_SIZE(entry->request);
    unsigned direction = _IOC_DIR(request) & _IOC_DIR(entry->request);
    if (given > sizeof data) return -EINVAL;
    if (direction & _IOC_WRITE) {
        int error = copy_from_user(data, (uintptr_t)argument, given < known ? given : known);
        if (error) return error;
    }
    kernel_lock();
    int result = entry->handler(file, data);
    kernel_unlock();
    // Nothing a handler may not change is written: callers share constants between threads.
    if (direction & _IOC_READ) {
        int error = copy_to_user((uintptr_t)argument, data, given < known ? given : known);
        if (error) return error;
    }
    return result;
}

int drm_dispatch(struct drm_file *file, int fd, unsigned long request, void *argument) {
    if (_IOC_TYPE(request) != 'd') return -ENOTTY;
    const struct ioctl_entry *entry = find_ioctl(file, request);
    if (!entry) {
        log_line("ioctl 0x%lx fd=%d result=%d unknown", request, fd, -EINVAL);
        return -EINVAL;
    }
    uint64_t start = monotonic_ns();
    thread_waited = false;
    int failure = config_failure(entry->name);
    int result = failure ? -failure : call(entry, file, request, argument);
    log_line("ioctl %s fd=%d result=%d waited=%d us=%llu%s%s", entry->name, fd, result, thread_waited,
             (unsigned long long)(monotonic_ns() - start) / 1000, failure ? " injected" : "", log_take_detail());
    return result;
}
