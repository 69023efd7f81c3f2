/* SPDX-License-Identifier: MIT */
/*
 * GEM objects of the mock. The bytes of all of them lie in one sparse memfd, the
 * arena, each object at an offset of its own that is never used again; mapping an
 * object maps that part of the arena. Lock held everywhere.
 */
#ifndef MOCK_GEM_H
#define MOCK_GEM_H

#include "drm.h"
#include "fence.h"

#define PAGE 4096u
/* xe, discrete: mapping a node here gives a page whose writes order others. */
#define GEM_BARRIER_OFFSET 0x50000u

struct gem_object {
    int references;
    struct gem_object *next, **place_in_list; /* of all there are */
    int handles;               /* in all open files */
    uint64_t size;
    uint64_t place;            /* in the arena; userptr: none */
    struct drm_device *device; /* that made it */
    uint8_t *bytes;            /* the mock's own mapping, made when first needed */
    uint64_t user_address;     /* userptr: where in the process; 0: not a userptr */
    bool user_read_only;
    bool may_be_vram, vram_only;
    uint64_t vram_charged;
    bool evicted;              /* xe: its local memory was taken away; nothing but that is different */
    uint64_t page;             /* alignment of its place in a GPU address space */
    unsigned cpu_caching;      /* xe */
    unsigned private_space;    /* xe: the number of the only VM that may map it, 0: any */
    bool shown;                /* a program has mapped it: its bytes stay */
    struct fence *writer;      /* i915: implicit fences */
    struct fence **readers;
    uint8_t *reader_classes;   /* of the engines they run on */
    unsigned writer_class, reader_count, reader_capacity;
    struct i915_vma *vmas;     /* i915: where it is bound */
};

/* Of all objects. */
struct gem_object *gem_first(void);
/* NULL without memory. vram counts against the device's local memory: -ENOSPC through *error. */
struct gem_object *gem_create(struct drm_device *device, uint64_t size, uint64_t vram, int *error);
struct gem_object *gem_create_user(struct drm_device *device, uint64_t address, uint64_t size, bool read_only);
struct gem_object *gem_get(struct gem_object *object);
void gem_put(struct gem_object *object);
struct gem_object *gem_lookup(struct drm_file *file, uint32_t handle);
/* A new handle; takes a reference of its own. 0 without memory. */
uint32_t gem_handle(struct drm_file *file, struct gem_object *object);
uint64_t gem_mmap_offset(const struct gem_object *object);

/* Has an object's local memory again, or -ENOSPC. */
int gem_restore(struct gem_object *object);

/* Implicit fences: the last writer, and who reads since then. */
void gem_note_use(struct gem_object *object, struct fence *fence, bool write, unsigned class);

/* Copies bytes of the object as the GPU does. false: a userptr whose pages are gone. */
bool gem_read(struct gem_object *object, uint64_t offset, void *to, size_t size);
bool gem_write(struct gem_object *object, uint64_t offset, const void *from, size_t size);

/* Which part of the arena a mapping of a node or a dma-buf shows, or -errno. */
int gem_find_mapping(struct drm_file *file, uint64_t offset, uint64_t length, uint64_t *place);
int gem_buffer_mapping(void *object, uint64_t offset, uint64_t length, uint64_t *place);
int gem_arena(void);
int gem_buffer_ioctl(unsigned long request);

int gem_close_ioctl(struct drm_file *file, void *data);
int gem_prime_export_ioctl(struct drm_file *file, void *data);
int gem_prime_import_ioctl(struct drm_file *file, void *data);
void gem_file_release(struct drm_file *file);
void syncobj_file_release(struct drm_file *file);
/* Drivers': the last handle of this file is gone (i915 closes its VMAs). */
void i915_handle_closed(struct drm_file *file, struct gem_object *object);

#endif
