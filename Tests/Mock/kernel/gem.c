/* SPDX-License-Identifier: MIT */
#include "gem.h"

#include <linux/dma-buf.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/uio.h>

/* Sparse: only what is written takes memory. */
#define ARENA_BYTES (1ull << 46)
/* Where mmap offsets of nodes begin: not at 0, so that a forgotten offset is noticed. */
#define MMAP_BASE (1ull << 32)

static int arena = -1;
static uint64_t arena_end = PAGE; /* page 0 is the barrier page */

int gem_arena(void) {
    if (arena >= 0) return arena;
    int fd = memfd_create("unbind-mock-memory", MFD_CLOEXEC);
    arena = fd < 0 ? -1 : real()->fcntl(fd, F_DUPFD_CLOEXEC, 900);
    if (arena < 0) arena = fd;
    else real()->close(fd);
    if (arena < 0 || ftruncate(arena, ARENA_BYTES) != 0) {
        perror("unbind mock: no memory for GEM objects");
        _exit(125);
    }
    return arena;
}

static struct gem_object *objects;

struct gem_object *gem_first(void) { return objects; }

static void enlist(struct gem_object *object) {
    object->next = objects;
    object->place_in_list = &objects;
    if (objects) objects->place_in_list = &object->next;
    objects = object;
}

struct gem_object *gem_create(struct drm_device *device, uint64_t size, uint64_t vram, int *error) {
    *error = -ENOSPC;
    if (device->vram_used + vram > device->model->vram && vram) return NULL;
    *error = -ENOMEM;
    struct gem_object *object = calloc(1, sizeof *object);
    if (!object || size > ARENA_BYTES - arena_end) return free(object), NULL;
    *error = 0;
    gem_arena();
    *object = (struct gem_object){.references = 1, .size = size, .place = arena_end, .device = device,
                                  .vram_charged = vram, .page = PAGE};
    arena_end += size;
    device->vram_used += vram;
    enlist(object);
    return object;
}

struct gem_object *gem_create_user(struct drm_device *device, uint64_t address, uint64_t size, bool read_only) {
    struct gem_object *object = calloc(1, sizeof *object);
    if (!object) return NULL;
    *object = (struct gem_object){.references = 1, .size = size, .device = device, .page = PAGE,
                                  .user_address = address, .user_read_only = read_only};
    enlist(object);
    return object;
}

struct gem_object *gem_get(struct gem_object *object) {
    object->references++;
    return object;
}

void gem_put(struct gem_object *object) {
    if (!object || --object->references) return;
    *object->place_in_list = object->next;
    if (object->next) object->next->place_in_list = object->place_in_list;
    if (object->bytes) munmap(object->bytes, object->size);
    // A mapping keeps its pages in the real kernel too; mappings are not counted here, so those bytes stay for good.
    if (!object->user_address && !object->shown)
        fallocate(arena, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)object->place, (off_t)object->size);
    if (!object->evicted) object->device->vram_used -= object->vram_charged;
    fence_put(object->writer);
    for (unsigned i = 0; i < object->reader_count; i++) fence_put(object->readers[i]);
    free(object->readers);
    free(object->reader_classes);
    free(object);
}

int gem_restore(struct gem_object *object) {
    struct drm_device *device = object->device;
    if (!object->evicted) return 0;
    if (device->vram_used + object->vram_charged > device->model->vram) return -ENOSPC;
    device->vram_used += object->vram_charged;
    object->evicted = false;
    return 0;
}

void gem_note_use(struct gem_object *object, struct fence *fence, bool write, unsigned class) {
    unsigned kept = 0;
    if (write) {
        // A writer that did not wait for the others must not hide them.
        struct fence *before = fence_join(object->readers, object->reader_count);
        struct fence *all[] = {before, object->writer, fence};
        struct fence *joined = fence_join(all, 3);
        fence_put(before);
        fence_put(object->writer);
        object->writer = joined;
        object->writer_class = class;
    }
    for (unsigned i = 0; i < object->reader_count; i++) {
        if (write || object->readers[i]->signalled) {
            fence_put(object->readers[i]);
        } else {
            object->reader_classes[kept] = object->reader_classes[i];
            object->readers[kept++] = object->readers[i];
        }
    }
    object->reader_count = kept;
    if (write) return;
    if (kept == object->reader_capacity) {
        object->reader_capacity = kept ? kept * 2 : 4;
        object->readers = realloc(object->readers, object->reader_capacity * sizeof *object->readers);
        object->reader_classes = realloc(object->reader_classes, object->reader_capacity);
        if (!object->readers || !object->reader_classes) abort();
    }
    object->reader_classes[kept] = (uint8_t)class;
    object->readers[object->reader_count++] = fence_get(fence);
}

struct gem_object *gem_lookup(struct drm_file *file, uint32_t handle) { return handles_get(&file->objects, handle); }

uint32_t gem_handle(struct drm_file *file, struct gem_object *object) {
    uint32_t handle = handles_add(&file->objects, object);
    if (!handle) return 0;
    gem_get(object);
    object->handles++;
    return handle;
}

uint64_t gem_mmap_offset(const struct gem_object *object) { return MMAP_BASE + object->place; }

/* ---- the GPU's view of the bytes */

static uint8_t *bytes_of(struct gem_object *object) {
    if (object->bytes) return object->bytes;
    void *bytes = real()->mmap(NULL, object->size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, gem_arena(),
                               (off_t)object->place);
    if (bytes == MAP_FAILED) abort();
    return object->bytes = bytes;
}

/* Word by word and atomic: a program looks at the same words while the GPU works. */
static void copy_words(uint8_t *to, const uint8_t *from, size_t size) {
    while (size) {
        if (size >= 4 && ((uintptr_t)to & 3) == 0 && ((uintptr_t)from & 3) == 0) {
            uint32_t word = __atomic_load_n((const uint32_t *)(const void *)from, __ATOMIC_RELAXED);
            __atomic_store_n((uint32_t *)(void *)to, word, __ATOMIC_RELAXED);
            to += 4, from += 4, size -= 4;
        } else {
            __atomic_store_n(to, __atomic_load_n(from, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
            to++, from++, size--;
        }
    }
}

bool gem_read(struct gem_object *object, uint64_t offset, void *to, size_t size) {
    if (object->user_address) return copy_from_user(to, object->user_address + offset, size) == 0;
    copy_words(to, bytes_of(object) + offset, size);
    return true;
}

bool gem_write(struct gem_object *object, uint64_t offset, const void *from, size_t size) {
    if (!object->user_address) {
        copy_words(bytes_of(object) + offset, from, size);
        return true;
    }
    struct iovec here = {(void *)(uintptr_t)from, size};
    struct iovec there = {(void *)(uintptr_t)(object->user_address + offset), size};
    ssize_t copied = process_vm_writev(getpid(), &here, 1, &there, 1, 0);
    if (copied < 0 && (errno == EPERM || errno == ENOSYS)) return memcpy(there.iov_base, from, size), true;
    return copied == (ssize_t)size;
}

/* ---- mapping */

int gem_find_mapping(struct drm_file *file, uint64_t offset, uint64_t length, uint64_t *place) {
    if (offset == GEM_BARRIER_OFFSET && length <= PAGE) {
        *place = 0;
        return 0;
    }
    for (uint32_t i = 0; i < file->objects.capacity; i++) {
        struct gem_object *object = file->objects.entries[i];
        if (!object || object->user_address || gem_mmap_offset(object) != offset) continue;
        if (length > ((object->size + PAGE - 1) & ~(uint64_t)(PAGE - 1))) return -EINVAL;
        object->shown = true;
        *place = object->place;
        return 0;
    }
    return -EINVAL;
}

int gem_buffer_mapping(void *buffer, uint64_t offset, uint64_t length, uint64_t *place) {
    struct gem_object *object = buffer;
    if (offset > object->size || length > object->size - offset) return -EINVAL;
    object->shown = true;
    *place = object->place + offset;
    return 0;
}

int gem_buffer_ioctl(unsigned long request) { return request == DMA_BUF_IOCTL_SYNC ? 0 : -ENOTTY; }

/* ---- handles and dma-bufs */

static void close_handle(struct drm_file *file, struct gem_object *object) {
    object->handles--;
    if (file->device->model->driver == DRIVER_I915) i915_handle_closed(file, object);
    gem_put(object);
}

int gem_close_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_gem_close *close = data;
    struct gem_object *object = handles_remove(&file->objects, close->handle);
    if (!object) return -EINVAL;
    log_detail("handle=%u", close->handle);
    close_handle(file, object);
    return 0;
}

void gem_file_release(struct drm_file *file) {
    for (uint32_t i = 0; i < file->objects.capacity; i++) {
        struct gem_object *object = file->objects.entries[i];
        file->objects.entries[i] = NULL;
        if (object) close_handle(file, object);
    }
}

static void buffer_release(void *object) { gem_put(object); }

int gem_prime_export_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_prime_handle *prime = data;
    if (prime->flags & ~(uint32_t)(O_CLOEXEC | O_RDWR)) return -EINVAL;
    struct gem_object *object = gem_lookup(file, prime->handle);
    if (!object) return -ENOENT;
    if (object->private_space) return -EPERM;
    if (object->user_address) return -EINVAL;
    int fd = file_install(FILE_BUFFER, gem_get(object), buffer_release, prime->flags & O_CLOEXEC);
    if (fd < 0) {
        gem_put(object);
        return fd;
    }
    file_get(fd)->writable = prime->flags & O_RDWR;
    if (ftruncate(fd, (off_t)object->size) != 0) log_line("a dma-buf without size");
    prime->fd = fd;
    return 0;
}

int gem_prime_import_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_prime_handle *prime = data;
    struct gem_object *object = file_object(prime->fd, FILE_BUFFER);
    if (!object) return file_ours(prime->fd) ? -EINVAL : -EBADF;
    // The same object has one handle in an open file, and no count of its own.
    for (uint32_t i = 0; i < file->objects.capacity; i++) {
        if (file->objects.entries[i] != object) continue;
        prime->handle = i + 1;
        return 0;
    }
    prime->handle = gem_handle(file, object);
    return prime->handle ? 0 : -ENOMEM;
}
