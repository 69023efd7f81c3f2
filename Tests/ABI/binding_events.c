/* SPDX-License-Identifier: MIT */
/* The stream of binding events: which come, when, in what order, and what is left when they are replayed. */
#include "tape.h"

/* Event number `number` (from 1) is this one. */
static void check_event(const struct tape *tape, unsigned number, uint32_t type, uint32_t flags, uint64_t address,
                        uint64_t bo_id) {
    REQUIRE(number <= tape->count);
    const struct unbind_binding_event *event = &tape->events[number - 1];
    CHECK_EQUAL(event->number, number);
    CHECK_EQUAL(event->type, type);
    CHECK_EQUAL(event->flags, flags);
    CHECK_EQUAL(event->error, 0);
    CHECK(event->address == address && event->bo_id == bo_id && event->size >= PAGE && event->vm_id == 1);
    if (number > 1) CHECK(event->time_ns >= event[-1].time_ns);
}

TEST(in_calls, "what is over within its call is one event each, and none comes before work is run") {
    struct gpu gpu;
    struct tape tape;
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_MANUAL, NULL, 0);
    unbind_bo *bo = make_bo(&gpu, 4 * PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    uint64_t id = unbind_bo_id(bo), start = unbind_device_now(gpu.device);
    for (unsigned i = 0; i < 3; i++) {
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
        CHECK_EQUAL(unbind_vma_bind(vma, 0), 0); /* bound already */
        CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    }
    CHECK_EQUAL(tape.count, 0);
    CHECK_EQUAL(event_count(gpu.vm), 6);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(tape.count, 6);
    for (unsigned i = 0; i < 3; i++) {
        check_event(&tape, 2 * i + 1, UNBIND_EVENT_BIND, 0, 0x40000, id);
        check_event(&tape, 2 * i + 2, UNBIND_EVENT_UNBIND, 0, 0x40000, id);
    }
    CHECK(tape.events[0].size == 4 * PAGE && tape.events[0].time_ns >= start);
    CHECK(tape.events[5].time_ns <= unbind_device_now(gpu.device));
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    close_with_tape(&gpu, &tape);
}

TEST(deferred, "pending unbinds and binds are told twice: when the range changes hands, and when they are done") {
    struct gpu gpu;
    struct tape tape;
    unbind_fence *unbound = NULL, *bound = NULL;
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_SIMULATED, NULL, 0);
    unbind_bo *first = make_bo(&gpu, 2 * PAGE), *second = make_bo(&gpu, PAGE);
    unbind_vma *old = make_vma(&gpu, first, 0x40000), *next = make_vma(&gpu, second, 0x41000);
    unbind_fence *user = make_fence(&gpu);
    CHECK_EQUAL(unbind_vma_bind(old, 0), 0);
    CHECK_EQUAL(unbind_vma_add_user(old, user), 0);
    CHECK_EQUAL(unbind_vma_unbind_async(old, 0, &unbound), 0);
    CHECK_EQUAL(unbind_vma_bind_async(next, 0, &bound), 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(tape.count, 3);
    check_event(&tape, 1, UNBIND_EVENT_BIND, 0, 0x40000, unbind_bo_id(first));
    check_event(&tape, 2, UNBIND_EVENT_UNBIND, UNBIND_EVENT_PENDING, 0x40000, unbind_bo_id(first));
    check_event(&tape, 3, UNBIND_EVENT_BIND, UNBIND_EVENT_PENDING, 0x41000, unbind_bo_id(second));
    CHECK_EQUAL(unbind_vma_unbind_async(next, 0, NULL), 0); /* while its bind is under way */
    signal_and_drop(user);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(finish(bound), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(tape.count, 7);
    check_event(&tape, 4, UNBIND_EVENT_UNBIND, UNBIND_EVENT_PENDING, 0x41000, unbind_bo_id(second));
    check_event(&tape, 5, UNBIND_EVENT_UNBIND_DONE, 0, 0x40000, unbind_bo_id(first));
    check_event(&tape, 6, UNBIND_EVENT_BIND_DONE, 0, 0x41000, unbind_bo_id(second));
    check_event(&tape, 7, UNBIND_EVENT_UNBIND_DONE, 0, 0x41000, unbind_bo_id(second));
    CHECK(tape.events[4].time_ns > tape.events[3].time_ns);
    unbind_vma_unref(old);
    unbind_vma_unref(next);
    unbind_bo_unref(first);
    unbind_bo_unref(second);
    close_with_tape(&gpu, &tape);
}

TEST(internal, "an unbind that nobody asked for is internal: evicted, moved with its buffer, moved by a pin") {
    struct gpu gpu;
    struct tape tape;
    struct unbind_pin_options pin = UNBIND_PIN_OPTIONS_INIT;
    unbind_fence *moved = NULL;
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_MANUAL, NULL, 0);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    uint64_t id = unbind_bo_id(bo);
    unbind_vma *vma = make_vma(&gpu, bo, UNBIND_ADDRESS_NONE);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_vm_evict_all(gpu.vm, UNBIND_EVICT_ASYNC), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    CHECK_EQUAL(unbind_bo_migrate(bo, UNBIND_REGION_LOCAL, 0, &moved), 0);
    CHECK_EQUAL(finish(moved), 0);
    CHECK_EQUAL(unbind_vma_bind(vma, 0), 0);
    pin.flags = UNBIND_PIN_FIXED;
    pin.address = 0x80000;
    CHECK_EQUAL(unbind_vma_pin(vma, &pin), 0);
    CHECK_EQUAL(unbind_vma_unpin(vma), 0);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(tape.count, 8);
    check_event(&tape, 1, UNBIND_EVENT_BIND, 0, 0, id);
    check_event(&tape, 2, UNBIND_EVENT_UNBIND, UNBIND_EVENT_INTERNAL, 0, id);
    check_event(&tape, 3, UNBIND_EVENT_BIND, 0, 0, id);
    check_event(&tape, 4, UNBIND_EVENT_UNBIND, UNBIND_EVENT_INTERNAL, 0, id);
    check_event(&tape, 5, UNBIND_EVENT_BIND, 0, 0, id);
    check_event(&tape, 6, UNBIND_EVENT_UNBIND, UNBIND_EVENT_INTERNAL, 0, id);
    check_event(&tape, 7, UNBIND_EVENT_BIND, 0, 0x80000, id);
    check_event(&tape, 8, UNBIND_EVENT_UNBIND, 0, 0x80000, id);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    close_with_tape(&gpu, &tape);
}

TEST(held, "an immediate unbind that is held is no pending one: its entries are cleared, nothing waits for it") {
    struct gpu gpu;
    struct tape tape;
    struct unbind_lookup found = UNBIND_LOOKUP_INIT;
    unbind_hold *hold = NULL;
    unbind_fence *unbound = NULL;
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_MANUAL, NULL, 0);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x40000);
    REQUIRE(unbind_vma_hold(vma, &hold) == 0);
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    CHECK_EQUAL(unbind_fence_is_signaled(unbound), 0);
    CHECK_EQUAL(unbind_vm_lookup(gpu.vm, 0x40000, &found), 0);
    CHECK_EQUAL(found.unbind_count, 0);
    unbind_hold_unref(hold);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(tape.count, 2);
    check_event(&tape, 2, UNBIND_EVENT_UNBIND, 0, 0x40000, 1);
    unbind_vma_unref(vma);
    close_with_tape(&gpu, &tape);
}

TEST(closing, "all events have come when the device has closed, though the address space went before") {
    for (uint32_t executor = 0; executor < 3; executor++) {
        struct gpu gpu;
        struct tape tape;
        open_with_tape(&gpu, &tape, executor, NULL, 0);
        unbind_vma *vmas[10];
        unbind_fence *users[10];
        for (unsigned i = 0; i < 10; i++) {
            vmas[i] = bind_new(&gpu, PAGE, 0x40000 + i * PAGE);
            users[i] = make_fence(&gpu);
            CHECK_EQUAL(unbind_vma_add_user(vmas[i], users[i]), 0);
        }
        unbind_vm_unref(gpu.vm);
        for (unsigned i = 0; i < 10; i++) unbind_vma_unref(vmas[i]);
        for (unsigned i = 0; i < 10; i++) unbind_fence_unref(users[i]);
        CHECK_EQUAL(unbind_device_close(gpu.device, NULL), 0);
        CHECK_EQUAL(tape.count, 30);
        for (unsigned i = 0; i < 10; i++) {
            check_event(&tape, i + 1, UNBIND_EVENT_BIND, 0, 0x40000 + i * PAGE, i + 1);
            check_event(&tape, i + 11, UNBIND_EVENT_UNBIND, UNBIND_EVENT_PENDING, 0x40000 + i * PAGE, i + 1);
            CHECK(tape.events[i + 20].type == UNBIND_EVENT_UNBIND_DONE && tape.events[i + 20].number == i + 21);
        }
        unbind_device_unref(gpu.device);
        CHECK_EQUAL(gpu.hooks.bytes, 0);
        free(tape.events);
    }
}

TEST(spaces, "each address space counts its own events") {
    struct gpu gpu;
    struct tape tape;
    unbind_vm *other = NULL, *first;
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_MANUAL, NULL, 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &other) == 0);
    unbind_vma *one = bind_new(&gpu, PAGE, 0x1000);
    first = gpu.vm, gpu.vm = other;
    unbind_vma *two = bind_new(&gpu, PAGE, 0x2000);
    gpu.vm = first;
    CHECK_EQUAL(unbind_device_run(gpu.device, 0, NULL), 0);
    CHECK_EQUAL(tape.count, 2);
    for (unsigned i = 0; i < 2; i++) {
        CHECK_EQUAL(tape.events[i].number, 1);
        CHECK_EQUAL(tape.events[i].address, tape.events[i].vm_id * PAGE);
    }
    CHECK(tape.events[0].vm_id != tape.events[1].vm_id);
    unbind_vma_unref(one);
    unbind_vma_unref(two);
    unbind_vm_unref(other);
    close_with_tape(&gpu, &tape);
}

/* MARK: from within the callback */

struct echo {
    struct gpu gpu;
    unbind_vma *vma;
    unsigned left, calls;
};

static void answer(void *user_data, const struct unbind_binding_event *event) {
    struct echo *echo = (struct echo *)user_data;
    echo->calls++;
    CHECK_EQUAL(event->number, echo->calls);
    CHECK_EQUAL(unbind_device_close(echo->gpu.device, NULL), -EDEADLK);
    if (echo->left == 0) return;
    echo->left--;
    if (event->type == UNBIND_EVENT_BIND) CHECK_EQUAL(unbind_vma_unbind_async(echo->vma, 0, NULL), 0);
    if (event->type == UNBIND_EVENT_UNBIND) CHECK_EQUAL(unbind_vma_bind_async(echo->vma, 0, NULL), 0);
}

TEST(callback_binds, "a callback may bind and unbind, and is told of that later") {
    struct echo echo;
    struct unbind_allocator allocator;
    memset(&echo, 0, sizeof echo);
    struct unbind_device_options options = gpu_options(&echo.gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    options.binding = answer;
    options.binding_data = &echo;
    REQUIRE(unbind_device_open_software(&options, &echo.gpu.device) == 0);
    REQUIRE(unbind_vm_create(echo.gpu.device, NULL, &echo.gpu.vm) == 0);
    echo.left = 21;
    unbind_bo *bo = make_bo(&echo.gpu, PAGE);
    echo.vma = make_vma(&echo.gpu, bo, 0x40000);
    CHECK_EQUAL(unbind_vma_bind(echo.vma, 0), 0);
    CHECK_EQUAL(unbind_device_wait_idle(echo.gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(echo.calls, 22);
    CHECK_EQUAL(unbind_vma_state(echo.vma), UNBIND_VMA_UNBOUND);
    unbind_vma_unref(echo.vma);
    unbind_bo_unref(bo);
    gpu_close(&echo.gpu);
}

/* MARK: no memory */

TEST(no_memory, "a bind without memory for its events fails, says nothing, and unbinds need none") {
    struct gpu gpu;
    struct tape tape;
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_MANUAL, NULL, UNBIND_DEVICE_NO_SLABS);
    unbind_bo *bo = make_bo(&gpu, PAGE);
    unbind_vma *vma = make_vma(&gpu, bo, 0x40000);
    unsigned failures = 0;
    for (uint64_t n = 1;; n++) {
        gpu.hooks.fail_at = gpu.hooks.calls + n;
        int status = unbind_vma_bind(vma, 0);
        gpu.hooks.fail_at = 0;
        if (status == 0) break;
        CHECK_EQUAL(status, -ENOMEM);
        CHECK_EQUAL(event_count(gpu.vm), 0);
        failures++;
    }
    CHECK(failures >= 5); /* the resource and four events, at the least */
    unbind_fence *user = make_fence(&gpu), *unbound = NULL;
    CHECK_EQUAL(unbind_vma_add_user(vma, user), 0);
    uint64_t calls = gpu.hooks.calls;
    CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &unbound), 0);
    signal_and_drop(user);
    CHECK_EQUAL(finish(unbound), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(gpu.hooks.calls, calls);
    /* BIND, perhaps its end, UNBIND and its end. */
    CHECK_EQUAL(tape.count, tape.events[0].flags & UNBIND_EVENT_PENDING ? 4 : 3);
    unbind_vma_unref(vma);
    unbind_bo_unref(bo);
    close_with_tape(&gpu, &tape);
}

/* MARK: threads */

enum { PAGES = 8, WORKERS = 3, ROUNDS = 400, LOOKS = 4000 };

/* What a lookup saw. */
struct sight {
    uint64_t number, page, bo_id;
};

struct crowd {
    struct gpu gpu;
    struct tape tape;
    unsigned running;
};

/* Binds and unbinds VMAs that overlap those of the others: a range that is taken is another time's. */
static void *bind_and_unbind(void *argument) {
    struct crowd *crowd = (struct crowd *)argument;
    uint64_t random = (uint64_t)(uintptr_t)&random;
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        uint64_t page = (random >> 33) % PAGES, size = 1 + (random >> 45) % 2;
        unbind_bo *bo = make_bo(&crowd->gpu, size * PAGE);
        unbind_vma *vma = make_vma(&crowd->gpu, bo, page * PAGE);
        unbind_fence *user = make_fence(&crowd->gpu);
        int status = unbind_vma_bind_async(vma, 0, NULL);
        CHECK(status == 0 || status == -ENOSPC);
        if (status == 0 && i % 3) CHECK_EQUAL(unbind_vma_add_user(vma, user), 0);
        if (status == 0 && i % 4) CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, NULL), 0);
        unbind_vma_unref(vma);
        signal_and_drop(user);
        unbind_bo_unref(bo);
    }
    __atomic_fetch_sub(&crowd->running, 1, __ATOMIC_RELEASE);
    return NULL;
}

TEST(replayed, "the events up to its number, replayed, are what each lookup saw while others bound and unbound") {
    static struct sight sights[LOOKS];
    struct crowd crowd;
    pthread_t threads[WORKERS];
    unsigned seen = 0;
    memset(&crowd, 0, sizeof crowd);
    open_with_tape(&crowd.gpu, &crowd.tape, UNBIND_EXECUTOR_POOL, NULL, 0);
    crowd.tape.vm = crowd.gpu.vm;
    crowd.running = WORKERS;
    for (unsigned i = 0; i < WORKERS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, bind_and_unbind, &crowd) == 0);
    while (seen < LOOKS && __atomic_load_n(&crowd.running, __ATOMIC_ACQUIRE)) {
        struct unbind_lookup found = UNBIND_LOOKUP_INIT;
        uint64_t page = seen % (PAGES + 2);
        CHECK_EQUAL(unbind_vm_lookup(crowd.gpu.vm, page * PAGE + 5, &found), 0);
        sights[seen].number = found.event_count;
        sights[seen].page = page;
        sights[seen].bo_id = found.bo_id;
        if (found.bo_id) CHECK(found.start <= page * PAGE && found.bo_offset == page * PAGE + 5 - found.start);
        seen++;
    }
    for (unsigned i = 0; i < WORKERS; i++) pthread_join(threads[i], NULL);
    CHECK_EQUAL(unbind_device_wait_idle(crowd.gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(crowd.tape.count, event_count(crowd.gpu.vm));
    uint64_t owner[PAGES + 2] = {0};
    unsigned checked = 0, pending = 0;
    for (unsigned i = 0; i <= crowd.tape.count; i++) {
        for (unsigned n = 0; n < seen; n++) { /* those after i events */
            if (sights[n].number != i) continue;
            CHECK_EQUAL(sights[n].bo_id, owner[sights[n].page]);
            checked++;
        }
        if (i == crowd.tape.count) break;
        const struct unbind_binding_event *event = &crowd.tape.events[i];
        CHECK_EQUAL(event->number, i + 1);
        if (i) CHECK(event->time_ns >= event[-1].time_ns);
        if (event->flags & UNBIND_EVENT_PENDING) pending++;
        if (event->type == UNBIND_EVENT_BIND_DONE || event->type == UNBIND_EVENT_UNBIND_DONE) pending--;
        for (uint64_t page = event->address / PAGE; page < (event->address + event->size) / PAGE; page++) {
            if (event->type == UNBIND_EVENT_BIND) {
                CHECK_EQUAL(owner[page], 0);
                owner[page] = event->bo_id;
            } else if (event->type == UNBIND_EVENT_UNBIND) {
                CHECK_EQUAL(owner[page], event->bo_id);
                owner[page] = 0;
            }
        }
    }
    CHECK_EQUAL(checked, seen);
    CHECK_EQUAL(pending, 0);
    for (unsigned page = 0; page < PAGES + 2; page++) CHECK_EQUAL(owner[page], 0);
    close_with_tape(&crowd.gpu, &crowd.tape);
}

TEST(options_size, "an older program's device options, which end before the callback, install none") {
    struct gpu gpu;
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(&gpu, UNBIND_EXECUTOR_MANUAL, &allocator);
    options.binding = (unbind_binding_fn)(void (*)(void))abort;
    options.struct_size = offsetof(struct unbind_device_options, binding);
    REQUIRE(unbind_device_open_software(&options, &gpu.device) == 0);
    REQUIRE(unbind_vm_create(gpu.device, NULL, &gpu.vm) == 0);
    unbind_vma *vma = bind_new(&gpu, PAGE, 0x40000);
    CHECK_EQUAL(unbind_vma_unbind(vma, 0), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(event_count(gpu.vm), 0);
    unbind_vma_unref(vma);
    gpu_close(&gpu);
}
