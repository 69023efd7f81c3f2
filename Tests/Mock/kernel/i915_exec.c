/* SPDX-License-Identifier: MIT */
/*
 * EXECBUFFER2 of i915. It checks the call, makes room (waiting until what is in
 * the way is idle), binds what is not bound, and queues the batch.
 */
#include "i915_exec.h"

#include "gem.h"
#include "sync_file.h"

#define TOP_32 (0x100000000ull - PAGE) /* objects without the 48-bit flag end here at the latest */
#define LOWEST_FREE (256u << 10)       /* where addresses that the kernel picks begin */

/* ---- the job */

struct exec_job {
    struct job job;
    struct i915_context *context;
    struct batch batch;
    bool started;
};

static enum job_result exec_run(struct job *job) {
    struct exec_job *exec = (struct exec_job *)job;
    struct i915_context *context = exec->context;
    if (context->banned || context->killed) {
        context->innocent++;
        exec->job.error = -EIO;
        return JOB_DONE;
    }
    if (!exec->started) {
        // The preamble of each request.
        if (!lies(LIE_NO_TLB_FLUSH)) space_flush_all(&context->vm->space);
        exec->batch.deadline_ns = monotonic_ns() + config.hang_ns;
        exec->started = true;
    }
    enum batch_status status = batch_run(&exec->batch);
    if (status == BATCH_BLOCKED) return JOB_BLOCKED;
    if (status != BATCH_DONE) {
        exec->job.error = -EIO;
        i915_context_hang(context);
    }
    return JOB_DONE;
}

static void exec_destroy(struct job *job) {
    struct exec_job *exec = (struct exec_job *)job;
    i915_context_put(exec->context);
    free(exec);
}

/* ---- what is listed */

static uint64_t canonical(uint64_t address) { return (uint64_t)((int64_t)(address << 16) >> 16); }

static int check_entry(struct drm_file *file, const struct i915_vm *vm, struct exec_entry *entry) {
    const struct unbind_drm_i915_gem_exec_object2 *given = &entry->given;
    uint64_t flags = given->flags;
    if (flags & ~0xffull) return -EINVAL;
    if (given->alignment & (given->alignment - 1)) return -EINVAL;
    if (given->relocation_count) {
        log_line("relocations are not modelled");
        return -EINVAL;
    }
    if ((flags & UNBIND_EXEC_OBJECT_PAD_TO_SIZE) && given->pad_to_size % PAGE) return -EINVAL;
    entry->object = gem_lookup(file, given->handle);
    if (!entry->object) return -ENOENT;
    struct gem_object *object = entry->object;
    char byte;
    if (object->user_address && (copy_from_user(&byte, object->user_address, 1) ||
                                 copy_from_user(&byte, object->user_address + object->size - 1, 1)))
        return -EFAULT;
    entry->size = object->size;
    if (flags & UNBIND_EXEC_OBJECT_PAD_TO_SIZE && given->pad_to_size > entry->size) entry->size = given->pad_to_size;
    entry->size = (entry->size + object->page - 1) / object->page * object->page;
    entry->limit = flags & UNBIND_EXEC_OBJECT_SUPPORTS_48B_ADDRESS ? 1ull << vm->space.va_bits : TOP_32;
    if (!(flags & UNBIND_EXEC_OBJECT_PINNED)) return entry->size > entry->limit ? -ENOSPC : 0;
    uint64_t plain = given->offset & ((1ull << vm->space.va_bits) - 1);
    if (given->offset % PAGE || given->offset != canonical(given->offset)) return -EINVAL;
    if (plain % object->page || (given->alignment && plain % given->alignment)) return -EINVAL;
    if (plain > entry->limit || entry->size > entry->limit - plain) return -EINVAL;
    entry->pinned = true;
    entry->start = plain;
    return 0;
}

static int by_start(const void *one, const void *other) {
    const struct exec_entry *const *a = one, *const *b = other;
    return (*a)->start < (*b)->start ? -1 : (*a)->start > (*b)->start;
}
static int by_object(const void *one, const void *other) {
    const struct exec_entry *const *a = one, *const *b = other;
    return (*a)->object < (*b)->object ? -1 : (*a)->object > (*b)->object;
}

/* No object twice, no two of them pinned at the same addresses. */
static int check_list(struct exec_list *list) {
    struct exec_entry **sorted = malloc(list->count * sizeof *sorted);
    if (!sorted) return -ENOMEM;
    int error = 0;
    for (uint32_t i = 0; i < list->count; i++) sorted[i] = &list->entries[i];
    qsort(sorted, list->count, sizeof *sorted, by_object);
    for (uint32_t i = 1; i < list->count && !error; i++) {
        if (sorted[i]->object != sorted[i - 1]->object) continue;
        // The real kernel does not check, and what it then does is anyone's guess.
        log_line("object listed twice handle=%u", sorted[i]->given.handle);
        error = -EINVAL;
    }
    uint32_t pinned = 0;
    for (uint32_t i = 0; i < list->count; i++)
        if (list->entries[i].pinned) sorted[pinned++] = &list->entries[i];
    qsort(sorted, pinned, sizeof *sorted, by_start);
    for (uint32_t i = 1; i < pinned && !error; i++)
        if (sorted[i]->start < sorted[i - 1]->start + sorted[i - 1]->size) error = -EINVAL;
    free(sorted);
    return error;
}

static int read_list(struct drm_file *file, const struct i915_vm *vm, struct exec_list *list,
                     const struct unbind_drm_i915_gem_execbuffer2 *args) {
    int error;
    *list = (struct exec_list){0};
    struct unbind_drm_i915_gem_exec_object2 *given =
        copy_array(args->buffers_ptr, args->buffer_count, sizeof *given, &error);
    if (error) return error;
    list->count = args->buffer_count;
    list->entries = calloc(list->count, sizeof *list->entries);
    if (!list->entries) error = -ENOMEM;
    for (uint32_t i = 0; i < list->count && !error; i++) {
        list->entries[i].given = given[i];
        error = check_entry(file, vm, &list->entries[i]);
    }
    free(given);
    return error ? error : check_list(list);
}

/* ---- making room */

/* The VMA that must go before this entry can be bound, or NULL; its own at another address is one of those. */
static struct i915_vma *in_the_way(const struct i915_vm *vm, const struct exec_entry *entry) {
    struct i915_vma *own = i915_vma_find(vm, entry->object);
    if (own && (own->start != entry->start || own->end < entry->start + entry->size)) return own;
    size_t i = i915_vm_first(vm, entry->start);
    for (; i < vm->count && vm->nodes[i]->start < entry->start + entry->size; i++)
        if (vm->nodes[i] != own) return vm->nodes[i];
    return NULL;
}

/* Unbinds what is in the way of pinned entries. Where one is busy it waits and gives -EAGAIN: begin again. */
static int make_room(struct i915_vm *vm, struct exec_list *list) {
    for (uint32_t i = 0; i < list->count; i++) {
        struct i915_vma *vma;
        if (!list->entries[i].pinned) continue;
        while ((vma = in_the_way(vm, &list->entries[i])) != NULL) {
            struct fence *busy = i915_vma_busy(vma);
            if (!busy) {
                i915_vma_unbind(vma);
                continue;
            }
            int error = fence_wait(busy, UINT64_MAX);
            return error ? error : -EAGAIN;
        }
    }
    return 0;
}

/* An address for an entry that left the choice to the kernel. */
static int choose(const struct i915_vm *vm, const struct exec_list *list, struct exec_entry *entry) {
    struct i915_vma *own = i915_vma_find(vm, entry->object);
    uint64_t alignment = entry->given.alignment > entry->object->page ? entry->given.alignment : entry->object->page;
    if (own && own->end <= entry->limit && own->start % alignment == 0 && own->end - own->start >= entry->size) {
        bool clear = true;
        for (uint32_t i = 0; i < list->count; i++) {
            const struct exec_entry *other = &list->entries[i];
            if (other != entry && other->placed && other->start < own->end && own->start < other->start + other->size)
                clear = false;
        }
        if (clear) {
            entry->start = own->start;
            entry->size = own->end - own->start;
            return 0;
        }
    }
    for (uint64_t at = LOWEST_FREE;;) {
        at = (at + alignment - 1) / alignment * alignment;
        if (at > entry->limit || entry->size > entry->limit - at) return -ENOSPC;
        uint64_t end = 0;
        size_t i = i915_vm_first(vm, at);
        if (i < vm->count && vm->nodes[i] != own && vm->nodes[i]->start < at + entry->size) end = vm->nodes[i]->end;
        for (uint32_t k = 0; k < list->count; k++) {
            const struct exec_entry *other = &list->entries[k];
            if (other != entry && other->placed && other->start < at + entry->size && at < other->start + other->size)
                end = other->start + other->size;
        }
        if (!end) {
            entry->start = at;
            return 0;
        }
        at = end;
    }
}

/* Every entry has its place: pinned ones where they said. May wait, and may be interrupted. */
static int reserve(struct i915_vm *vm, struct exec_list *list) {
    int error;
    while ((error = make_room(vm, list)) == -EAGAIN) {}
    if (error) return error;
    for (uint32_t i = 0; i < list->count; i++) list->entries[i].placed = list->entries[i].pinned;
    for (uint32_t i = 0; i < list->count; i++) {
        if (list->entries[i].pinned) continue;
        error = choose(vm, list, &list->entries[i]);
        if (error) return error;
        list->entries[i].placed = list->entries[i].pinned = true;
    }
    while ((error = make_room(vm, list)) == -EAGAIN) {}
    for (uint32_t i = 0; i < list->count && !error; i++) {
        struct exec_entry *entry = &list->entries[i];
        entry->vma = i915_vma_find(vm, entry->object);
        if (!entry->vma) entry->vma = i915_vma_bind(vm, entry->object, entry->start, entry->size);
    }
    return error;
}

/* ---- the call */

static int check_call(const struct unbind_drm_i915_gem_execbuffer2 *args) {
    const uint64_t fences = UNBIND_I915_EXEC_FENCE_ARRAY | UNBIND_I915_EXEC_USE_EXTENSIONS;
    if (args->flags & ~0x3fffffull) return -EINVAL;
    if (args->DR1 || (args->DR4 && args->DR4 != 0xffffffff)) return -EINVAL;
    if ((args->batch_start_offset | args->batch_len) & 7) return -EINVAL;
    if (args->buffer_count == 0 || args->buffer_count > 1u << 20) return -EINVAL;
    if ((args->flags & fences) == fences) return -EINVAL;
    if (!(args->flags & fences) && (args->num_cliprects || args->cliprects_ptr)) return -EINVAL;
    if ((args->flags & UNBIND_I915_EXEC_FENCE_IN) && (args->flags & UNBIND_I915_EXEC_FENCE_SUBMIT)) return -EINVAL;
    return 0;
}

/* Offsets that differ from what the caller wrote. */
static int write_offsets(const struct exec_list *list, uint64_t address) {
    for (uint32_t i = 0; i < list->count; i++) {
        uint64_t offset = canonical(list->entries[i].start);
        if (offset == list->entries[i].given.offset) continue;
        int error = copy_to_user(address + i * sizeof list->entries[i].given +
                                     offsetof(struct unbind_drm_i915_gem_exec_object2, offset),
                                 &offset, sizeof offset);
        if (error) return error;
    }
    return 0;
}

static struct fence *submit(struct i915_context *context, struct job_queue *queue, unsigned class,
                            struct exec_list *list, struct exec_fences *fences, uint64_t batch) {
    struct exec_job *exec = calloc(1, sizeof *exec);
    if (!exec) abort();
    exec->job = (struct job){.run = exec_run, .destroy = exec_destroy, .done = fence_new()};
    exec->context = i915_context_get(context);
    exec->batch = (struct batch){.space = &context->vm->space, .next = batch, .class = class,
                                 .version = context->file->device->model->graphics_version};
    struct fence *done = fence_get(exec->job.done);
    exec_fences_attach(fences, &exec->job);
    for (uint32_t i = 0; i < list->count; i++) {
        struct exec_entry *entry = &list->entries[i];
        bool write = entry->given.flags & UNBIND_EXEC_OBJECT_WRITE;
        job_await(&exec->job, entry->vma->bound);
        if (!(entry->given.flags & UNBIND_EXEC_OBJECT_ASYNC)) {
            job_await(&exec->job, entry->object->writer);
            for (unsigned k = 0; write && k < entry->object->reader_count; k++)
                job_await(&exec->job, entry->object->readers[k]);
        }
    }
    for (uint32_t i = 0; i < list->count; i++) {
        struct exec_entry *entry = &list->entries[i];
        i915_vma_use(entry->vma, done);
        gem_note_use(entry->object, done, entry->given.flags & UNBIND_EXEC_OBJECT_WRITE, class);
    }
    job_submit(&exec->job, queue, config.exec_delay_ns);
    return done;
}

static int run_call(struct drm_file *file, struct i915_context *context, struct exec_list *list,
                    struct exec_fences *fences, struct unbind_drm_i915_gem_execbuffer2 *args) {
    unsigned class;
    struct job_queue *queue = i915_context_queue(context, args->flags & UNBIND_I915_EXEC_RING_MASK, &class);
    if (!queue) return -EINVAL;
    int error = read_list(file, context->vm, list, args);
    if (!error) error = exec_fences_read(file, fences, args);
    if (error) return error;
    for (uint32_t i = 0; i < list->count; i++) gem_get(list->entries[i].object);
    list->held = true;
    uint32_t batch = args->flags & UNBIND_I915_EXEC_BATCH_FIRST ? 0 : list->count - 1;
    uint64_t length = args->batch_len, size = list->entries[batch].object->size;
    if (args->batch_start_offset >= size || length > size - args->batch_start_offset) return -EINVAL;
    error = reserve(context->vm, list);
    if (!error && context->banned) error = -EIO;
    if (!error) error = write_offsets(list, args->buffers_ptr);
    if (error) return error;
    struct fence *done = submit(context, queue, class, list, fences,
                                list->entries[batch].start + args->batch_start_offset);
    if (args->flags & UNBIND_I915_EXEC_FENCE_OUT) {
        int fd = sync_file_create(lies(LIE_SIGNAL_EARLY) ? fences->early : done);
        if (fd < 0) log_line("no descriptor for the out-fence");
        args->rsvd2 = (args->rsvd2 & 0xffffffff) | (uint64_t)(uint32_t)fd << 32;
    }
    fence_put(done);
    return 0;
}

int i915_execbuffer_ioctl(struct drm_file *file, void *data) {
    struct unbind_drm_i915_gem_execbuffer2 *args = data;
    int error = check_call(args);
    if (error) return error;
    struct i915_context *context = i915_context_lookup(file, (uint32_t)args->rsvd1);
    if (!context) return -ENOENT;
    i915_context_get(context);
    context->used = true;
    struct exec_list list = {0};
    struct exec_fences fences = {0};
    if (context->banned) error = -EIO;
    if (!error) error = run_call(file, context, &list, &fences, args);
    log_detail("context=%u objects=%u", (unsigned)args->rsvd1, args->buffer_count);
    for (uint32_t i = 0; i < list.count && list.held; i++) gem_put(list.entries[i].object);
    free(list.entries);
    exec_fences_free(&fences);
    i915_context_put(context);
    return error;
}
