/* SPDX-License-Identifier: MIT */
/* The fuzz test: its dice, the handles it holds, structs that are spoiled, and what the library calls back. */
#ifndef TESTS_ABI_FUZZ_WORLD_H
#define TESTS_ABI_FUZZ_WORLD_H

#include "support.h"
#include <stdarg.h>
#include <stddef.h>

enum { SLOTS = 10, CALLBACKS = 8, DESCRIPTORS = 8, CONTEXTS = 4, STEPS = 300, WRAP_SIZE = 1 << 16, STRUCT_ROOM = 4608 };
enum kind { DEVICE, VM, BO, VMA, QUEUE, FENCE, HOLD, ZONES, TRACKER, KINDS };

struct slot {
    void *handle;
    unsigned references; /* that this program holds */
    int device;          /* which of the two */
    const void *vm;      /* of a VMA or queue: only to compare */
    uint64_t bytes;      /* of a buffer */
    int is_own;          /* made by unbind_fence_create */
};

struct callback {
    struct unbind_fence_callback storage;
    unbind_fence *fence; /* waited for; NULL: the storage is free */
};

struct fuzz {
    uint64_t random, seed;
    uint32_t executor;
    unsigned step, depth;
    int here; /* the device that this step is mostly about */
    int is_traced, is_quiet; /* quiet: callbacks make no calls */
    struct slot slots[KINDS][SLOTS];
    int is_closed[2];
    long long power[2]; /* references that the device holds */
    unsigned abandoned[2]; /* own fences without a reference that may still be awaited */
    unsigned timed[2];     /* fences made for a time */
    struct unbind_lock_context contexts[CONTEXTS];
    int is_context_busy[CONTEXTS]; /* a call with it waits: callbacks leave it alone */
    struct hooks hooks[2];
    unsigned fail_one_in; /* allocations that fail; 0: none */
    unsigned wrapped, released, called;
    struct callback callbacks[CALLBACKS];
    int descriptors[DESCRIPTORS];
    uint64_t results[16];
    unsigned char *memory;
};
static struct fuzz fuzz;

/* MARK: what is random */

static uint64_t any(void) { /* splitmix64 */
    uint64_t word = fuzz.random += UINT64_C(0x9e3779b97f4a7c15);
    word = (word ^ (word >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    word = (word ^ (word >> 27)) * UINT64_C(0x94d049bb133111eb);
    return word ^ (word >> 31);
}

static uint64_t below(uint64_t end) { return any() % end; }
static int one_in(uint64_t n) { return below(n) == 0; }

static uint64_t any_word(void) {
    static const uint64_t edges[] = {0, 1, 4, 8, 4095, 4096, 65536, UINT64_C(1) << 32, UINT64_C(1) << 47,
                                     UINT64_C(1) << 48, UINT64_MAX - 4095, UINT64_MAX - 1, UINT64_MAX};
    switch (below(3)) {
    case 0: return edges[below(sizeof edges / sizeof *edges)];
    case 1: return any() >> below(64);
    default: return below(64) * PAGE;
    }
}

static uint64_t any_address(void) {
    if (one_in(100)) return any_word();
    return below(48) * PAGE + (one_in(8) ? below(512) * 8 : 0);
}

static uint32_t flags_of(uint32_t known) { return one_in(60) ? (uint32_t)any() : (uint32_t)any() & known; }
static uint32_t no_flags(void) { return one_in(60) ? (uint32_t)any() : 0; }

/* MARK: failures */

static void fuzz_failed(const char *what, long long got) {
    printf("    %s: %lld (executor %u, FUZZ_SEED=%llu, step %u)\n", what, got, fuzz.executor,
           (unsigned long long)fuzz.seed, fuzz.step);
    fflush(stdout);
    check_failures++;
}

/* A crash or the harness's alarm: which seed it was. */
static void fuzz_died(int signal_number) {
    char line[96];
    int length = snprintf(line, sizeof line, "    signal %d: executor %u, FUZZ_SEED=%llu, step %u\n", signal_number,
                          fuzz.executor, (unsigned long long)fuzz.seed, fuzz.step);
    if (write(1, line, (size_t)length) != length) _exit(1);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void trace(const char *format, ...) {
    va_list arguments;
    if (!fuzz.is_traced) return;
    va_start(arguments, format);
    printf("%4u %*s", fuzz.step, (int)fuzz.depth * 2, "");
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

/* The status is not negative, or one of the documented errors: a list that ends with 0. */
static int status(const char *name, int got, ...) {
    va_list errors;
    int error, is_known = got >= 0;
    va_start(errors, got);
    while ((error = va_arg(errors, int)) != 0) is_known |= got == error;
    va_end(errors);
    if (fuzz.is_traced) printf("%4u %*s-> %s %s\n", fuzz.step, (int)fuzz.depth * 2, "", name, unbind_status_name(got));
    if (!is_known) fuzz_failed(name, got);
    return got;
}

/* MARK: handles */

static void *handle_ref(enum kind kind, void *handle) {
    switch (kind) {
    case DEVICE: return unbind_device_ref((unbind_device *)handle);
    case VM: return unbind_vm_ref((unbind_vm *)handle);
    case BO: return unbind_bo_ref((unbind_bo *)handle);
    case VMA: return unbind_vma_ref((unbind_vma *)handle);
    case QUEUE: return unbind_queue_ref((unbind_queue *)handle);
    case FENCE: return unbind_fence_ref((unbind_fence *)handle);
    case HOLD: return unbind_hold_ref((unbind_hold *)handle);
    case ZONES: return unbind_range_allocator_ref((unbind_range_allocator *)handle);
    case TRACKER: return unbind_range_tracker_ref((unbind_range_tracker *)handle);
    default: return NULL;
    }
}

static void handle_unref(enum kind kind, void *handle) {
    trace("unref %d %p", kind, handle);
    switch (kind) {
    case DEVICE: unbind_device_unref((unbind_device *)handle); break;
    case VM: unbind_vm_unref((unbind_vm *)handle); break;
    case BO: unbind_bo_unref((unbind_bo *)handle); break;
    case VMA: unbind_vma_unref((unbind_vma *)handle); break;
    case QUEUE: unbind_queue_unref((unbind_queue *)handle); break;
    case FENCE: unbind_fence_unref((unbind_fence *)handle); break;
    case HOLD: unbind_hold_unref((unbind_hold *)handle); break;
    case ZONES: unbind_range_allocator_unref((unbind_range_allocator *)handle); break;
    case TRACKER: unbind_range_tracker_unref((unbind_range_tracker *)handle); break;
    default: break;
    }
}

static struct slot *slot_of(enum kind kind, const void *handle) {
    for (unsigned i = 0; handle && i < SLOTS; i++) {
        if (fuzz.slots[kind][i].handle == handle) return &fuzz.slots[kind][i];
    }
    return NULL;
}

static struct slot *live(enum kind kind) {
    struct slot *other = NULL;
    for (unsigned i = 0, first = (unsigned)below(SLOTS); i < SLOTS; i++) {
        struct slot *slot = &fuzz.slots[kind][(first + i) % SLOTS];
        if (slot->handle && slot->device == fuzz.here) return slot;
        if (slot->handle) other = slot;
    }
    return other;
}

/* A handle, now and then none or one of another kind. */
static void *pick(enum kind kind) {
    if (one_in(60)) return NULL;
    if (one_in(60)) kind = (enum kind)below(KINDS);
    struct slot *slot = live(kind);
    return slot ? slot->handle : NULL;
}
#define PICK(type, kind) ((type *)pick(kind))

static int device_of(enum kind kind, const void *handle) {
    struct slot *slot = slot_of(kind, handle);
    return slot ? slot->device : -1;
}

/* Something that a queue can use, mostly. */
static unbind_vma *pick_bound(const struct slot *queue) {
    for (unsigned i = 0, first = (unsigned)below(SLOTS); i < SLOTS && !one_in(100); i++) {
        struct slot *slot = &fuzz.slots[VMA][(first + i) % SLOTS];
        unbind_vma *vma = (unbind_vma *)slot->handle;
        if (vma && queue && slot->vm == queue->vm && unbind_vma_state(vma) > 0) return vma;
    }
    return PICK(unbind_vma, VMA);
}

/* Takes over a reference. */
static struct slot *keep(enum kind kind, void *handle, int device) {
    struct slot *slot = slot_of(kind, handle);
    if (device < 0) fuzz_failed("an object was made of a handle that is none", kind);
    for (unsigned i = 0; !slot && i < SLOTS; i++) {
        if (!fuzz.slots[kind][i].handle) slot = &fuzz.slots[kind][i];
    }
    if (!slot) {
        handle_unref(kind, handle);
        return NULL;
    }
    if (!slot->handle) {
        memset(slot, 0, sizeof *slot);
        slot->handle = handle;
        slot->device = device;
    }
    slot->references++;
    trace("keep %d %p, %u references", kind, handle, slot->references);
    return slot;
}

static int is_unsignalled(const struct slot *slot) {
    return slot->is_own && unbind_fence_is_signaled((unbind_fence *)slot->handle) == 0;
}

static void drop(enum kind kind, struct slot *slot) {
    void *handle = slot->handle;
    /* From a callback only what is not the last: the call outside may be using it. */
    if (slot->references == 1 && fuzz.depth) return;
    if (slot->references == 1 && kind == FENCE && is_unsignalled(slot)) {
        /* On real time whatever awaited it would wait until the device is closed. */
        if (fuzz.executor == UNBIND_EXECUTOR_MANUAL) unbind_fence_signal((unbind_fence *)handle, 0);
        else fuzz.abandoned[slot->device]++;
    }
    if (--slot->references == 0) memset(slot, 0, sizeof *slot);
    handle_unref(kind, handle);
}

/* May a call wait for ever? In a simulation that is found out. In real time only if nothing waits for this program. */
static int may_wait(void) {
    if (fuzz.depth) return 0;
    if (fuzz.executor == UNBIND_EXECUTOR_SIMULATED) return 1;
    for (unsigned i = 0; i < SLOTS; i++) {
        struct slot *slot = &fuzz.slots[FENCE][i];
        if (slot->handle && is_unsignalled(slot)) return 0;
        if (fuzz.slots[HOLD][i].handle) return 0;
    }
    return 1;
}

/* MARK: structs as a newer, an older or a confused program sends them */

union room {
    uint32_t struct_size;
    uint64_t words[STRUCT_ROOM / 8];
    unsigned char bytes[STRUCT_ROOM];
};

static void *spoil(union room *room, const void *value, uint32_t size) {
    static const uint32_t sizes[] = {0, 3, 4, 8, 16, 24, 4096, 4100, UINT32_MAX - 3, UINT32_MAX};
    memset(room, 0, sizeof *room);
    memcpy(room, value, size);
    if (one_in(24)) {
        room->struct_size = one_in(2) ? sizes[below(sizeof sizes / sizeof *sizes)] : size + (uint32_t)below(9) * 4 - 16;
        if (one_in(2)) room->bytes[size + below(16)] = 1;
    } else if (one_in(40)) {
        room->bytes[4 + below(size - 4)] ^= (unsigned char)(1u << below(8));
    }
    return room;
}
/* For structs without pointers, which a flipped bit would spoil beyond what the library could find out. */
#define SPOIL(room, value) spoil(room, &(value), sizeof(value))

/* Not in the middle of a pointer either; `least` is a multiple of 8. */
static void *resize(union room *room, const void *value, uint32_t size, uint32_t least) {
    memset(room, 0, sizeof *room);
    memcpy(room, value, size);
    if (one_in(24)) {
        room->struct_size = least + (uint32_t)below((size - least) / 8 + 4) * 8 + (one_in(4) ? 1 : 0);
        if (one_in(2)) room->bytes[size + below(16)] = 1;
    }
    return room;
}

/* MARK: what the library calls */

static void step(void);

/* "Called with no lock held": a callback may make every call that does not block. */
static void from_within(void) {
    if (fuzz.is_quiet || fuzz.depth >= 3 || !one_in(3)) return;
    fuzz.depth++;
    for (unsigned i = 0, count = 1 + (unsigned)below(3); i < count; i++) step();
    fuzz.depth--;
}

static void *allocate(void *user_data, size_t size, size_t alignment) {
    if (fuzz.fail_one_in && one_in(fuzz.fail_one_in)) return NULL;
    return hooks_allocate(user_data, size, alignment);
}

static void fuzz_log(void *user_data, uint32_t level, const char *message) {
    (void)user_data;
    if (level > UNBIND_LOG_INFO) fuzz_failed("log level", level);
    trace("log: %s", message);
    from_within();
}

static void fuzz_fault(void *user_data, const struct unbind_fault *fault) {
    (void)user_data;
    if (fault->kind > UNBIND_FAULT_STALE || fault->access > UNBIND_ACCESS_WRITE) fuzz_failed("fault", fault->kind);
    from_within();
}

static void fuzz_power_get(void *user_data) {
    ++*(long long *)user_data;
    from_within();
}

static int fuzz_power_ask(void *user_data) {
    int answer = one_in(2);
    *(long long *)user_data += answer;
    from_within();
    return answer;
}

static void fuzz_power_put(void *user_data) {
    if (--*(long long *)user_data < 0) fuzz_failed("power was put that was not taken", *(long long *)user_data);
    from_within();
}

static void print_text(void *user_data, const char *text, size_t length) {
    (void)user_data;
    printf("%.*s", (int)length, text);
}

static void fuzz_write(void *user_data, const char *text, size_t length) {
    size_t *total = (size_t *)user_data;
    for (size_t i = 0; i < length; i++) *total += text[i] != 0;
    from_within();
}

static void fuzz_release(void *user_data, void *memory) {
    if (user_data != &fuzz || memory < (void *)fuzz.memory) fuzz_failed("release", 0);
    fuzz.released++;
    from_within();
}

static void fuzz_signalled(unbind_fence *fence, void *user_data) {
    struct callback *callback = (struct callback *)user_data;
    if (callback->fence != fence) fuzz_failed("a callback came from another fence", 0);
    if (unbind_fence_is_signaled(fence) != 1) fuzz_failed("a callback came before its fence", 0);
    callback->fence = NULL; /* the storage is free again from here on */
    fuzz.called++;
    from_within();
}

#endif /* TESTS_ABI_FUZZ_WORLD_H */
