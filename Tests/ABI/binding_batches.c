/* SPDX-License-Identifier: MIT */
/* The binding events of batches, replayed beside lookups and a naive model; and those of a program's own backend. */
#include "tape.h"
#include "toy_backend.h"

enum { SPACE = 24, BUFFERS = 3, BATCHES = 60 };

/* What a page shows: of buffer `bo` (0: nothing; BUFFERS + 1: a null mapping) the page `offset`. */
struct shown {
    unsigned bo;
    uint64_t offset;
};

/* A page as a lookup saw it after so many events. */
struct page_sight {
    uint64_t number;
    uint64_t bo_id[SPACE];
    unsigned is_there[SPACE], pending[SPACE];
};

static uint64_t dice(uint64_t *random, uint64_t sides) {
    *random = *random * 6364136223846793005u + 1442695040888963407u;
    return (*random >> 33) % sides;
}

static void apply(struct shown *pages, const struct unbind_op *op, unsigned bo) {
    for (uint64_t page = 0; page < SPACE; page++) {
        uint64_t address = page * PAGE;
        if (address < op->address || address >= op->address + op->size) continue;
        pages[page].bo = op->op == UNBIND_OP_UNMAP ? 0 : op->op == UNBIND_OP_MAP_NULL ? BUFFERS + 1 : bo + 1;
        pages[page].offset = op->op == UNBIND_OP_MAP ? op->offset + address - op->address : 0;
    }
}

static void look_at_pages(struct gpu *gpu, unbind_bo *const *bos, const struct shown *pages, struct page_sight *sight) {
    for (unsigned page = 0; page < SPACE; page++) {
        struct unbind_lookup found = UNBIND_LOOKUP_INIT;
        CHECK_EQUAL(unbind_vm_lookup(gpu->vm, page * PAGE + 7, &found), 0);
        int is_null = pages[page].bo == BUFFERS + 1, is_bo = pages[page].bo != 0 && !is_null;
        CHECK_EQUAL(found.state != UNBIND_VMA_UNBOUND, pages[page].bo != 0);
        CHECK_EQUAL(found.bo_id, is_bo ? unbind_bo_id(bos[pages[page].bo - 1]) : 0);
        CHECK_EQUAL(found.bo_offset, is_bo ? pages[page].offset + 7 : 0);
        CHECK_EQUAL(found.pins | found.holds, 0);
        CHECK_EQUAL(found.flags, pages[page].bo == 0 ? 0 : UNBIND_LOOKUP_BATCH | (is_null ? UNBIND_LOOKUP_NULL : 0));
        sight->number = found.event_count;
        sight->bo_id[page] = found.bo_id;
        sight->is_there[page] = found.state != UNBIND_VMA_UNBOUND;
        sight->pending[page] = found.unbind_count;
    }
}

static void replay_batches(const struct tape *tape, const struct page_sight *sights, unsigned count) {
    struct page_sight now;
    unsigned next = 0, binding = 0;
    memset(&now, 0, sizeof now);
    for (unsigned i = 0; i <= tape->count; i++) {
        for (; next < count && sights[next].number == i; next++) {
            CHECK(memcmp(sights[next].bo_id, now.bo_id, sizeof now.bo_id) == 0);
            CHECK(memcmp(sights[next].is_there, now.is_there, sizeof now.is_there) == 0);
            CHECK(memcmp(sights[next].pending, now.pending, sizeof now.pending) == 0);
        }
        if (i == tape->count) break;
        const struct unbind_binding_event *event = &tape->events[i];
        int is_pending = (event->flags & UNBIND_EVENT_PENDING) != 0;
        if (event->type == UNBIND_EVENT_BIND && is_pending) binding++;
        if (event->type == UNBIND_EVENT_BIND_DONE) binding--;
        for (uint64_t page = event->address / PAGE; page < (event->address + event->size) / PAGE; page++) {
            if (event->type == UNBIND_EVENT_BIND) {
                CHECK_EQUAL(now.is_there[page], 0);
                now.is_there[page] = 1, now.bo_id[page] = event->bo_id;
            } else if (event->type == UNBIND_EVENT_UNBIND) {
                CHECK(now.is_there[page] == 1 && now.bo_id[page] == event->bo_id);
                now.is_there[page] = 0, now.bo_id[page] = 0;
                now.pending[page] += is_pending;
            } else if (event->type == UNBIND_EVENT_UNBIND_DONE) {
                now.pending[page]--;
            }
        }
    }
    CHECK_EQUAL(next, count);
    CHECK_EQUAL(binding, 0);
    for (unsigned page = 0; page < SPACE; page++) CHECK_EQUAL(now.is_there[page] | now.pending[page], 0);
}

static void random_batches(uint64_t seed) {
    static struct page_sight sights[BATCHES + 1];
    struct gpu gpu;
    struct tape tape;
    struct shown pages[SPACE];
    unbind_bo *bos[BUFFERS];
    unbind_fence *gates[BATCHES] = {NULL};
    uint64_t random = seed;
    memset(pages, 0, sizeof pages);
    open_with_tape(&gpu, &tape, seed % 2 ? UNBIND_EXECUTOR_SIMULATED : UNBIND_EXECUTOR_MANUAL, NULL, 0);
    for (unsigned i = 0; i < BUFFERS; i++) bos[i] = make_bo(&gpu, SPACE * PAGE);
    for (unsigned n = 0; n < BATCHES; n++) {
        struct unbind_op ops[4];
        struct unbind_batch batch = UNBIND_BATCH_INIT;
        struct unbind_sync wait;
        unsigned count = 1 + (unsigned)dice(&random, 4);
        memset(ops, 0, sizeof ops);
        memset(&wait, 0, sizeof wait);
        for (unsigned i = 0; i < count; i++) {
            uint64_t first = dice(&random, SPACE), size = 1 + dice(&random, SPACE - first < 8 ? SPACE - first : 8);
            unsigned bo = (unsigned)dice(&random, BUFFERS);
            static const uint32_t kinds[] = {UNBIND_OP_MAP, UNBIND_OP_MAP, UNBIND_OP_MAP_NULL, UNBIND_OP_UNMAP};
            ops[i].op = kinds[dice(&random, 4)];
            ops[i].address = first * PAGE;
            ops[i].size = size * PAGE;
            if (ops[i].op == UNBIND_OP_MAP) {
                ops[i].bo = bos[bo];
                ops[i].offset = (dice(&random, 2) ? first : dice(&random, SPACE - size + 1)) * PAGE;
            }
            apply(pages, &ops[i], bo);
        }
        batch.mode = UNBIND_BATCH_ASYNC;
        if (dice(&random, 2)) {
            gates[n] = make_fence(&gpu);
            wait.fence = gates[n];
            batch.waits = &wait;
            batch.wait_count = 1;
        }
        CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, count, &batch), 0);
        look_at_pages(&gpu, bos, pages, &sights[n]);
        unsigned open = (unsigned)dice(&random, n + 1);
        if (gates[open]) signal_and_drop(gates[open]), gates[open] = NULL;
        if (dice(&random, 2)) CHECK_EQUAL(unbind_device_run(gpu.device, (uint32_t)dice(&random, 6), NULL), 0);
    }
    look_at_pages(&gpu, bos, pages, &sights[BATCHES]);
    for (unsigned n = 0; n < BATCHES; n++) {
        if (gates[n]) signal_and_drop(gates[n]);
    }
    CHECK_EQUAL(unbind_vm_close(gpu.vm), 0);
    CHECK_EQUAL(unbind_device_wait_idle(gpu.device, FOREVER, 0), 0);
    CHECK_EQUAL(tape.count, event_count(gpu.vm));
    replay_batches(&tape, sights, BATCHES + 1);
    for (unsigned i = 0; i < BUFFERS; i++) unbind_bo_unref(bos[i]);
    close_with_tape(&gpu, &tape);
}

TEST(batches, "the events of batches, splits among them, replayed are what lookups see, and those what was mapped") {
    unsigned seeds = getenv("UNDER_VALGRIND") ? 6 : 200;
    for (unsigned seed = 0; seed < seeds; seed++) random_batches(seed);
}

TEST(batch_without_memory, "a batch that fails says nothing and keeps no memory for events") {
    struct gpu gpu;
    struct tape tape;
    struct unbind_op ops[2];
    open_with_tape(&gpu, &tape, UNBIND_EXECUTOR_MANUAL, NULL, UNBIND_DEVICE_NO_SLABS);
    unbind_bo *bo = make_bo(&gpu, 8 * PAGE);
    memset(ops, 0, sizeof ops);
    ops[0].op = UNBIND_OP_MAP;
    ops[0].size = 8 * PAGE;
    ops[0].bo = bo;
    CHECK_EQUAL(unbind_vm_submit(gpu.vm, ops, 1, NULL), 0);
    uint64_t before = event_count(gpu.vm);
    ops[0].size = PAGE;
    ops[0].address = 2 * PAGE; /* of another place: splits what is there */
    ops[1].op = UNBIND_OP_UNMAP;
    ops[1].address = 5 * PAGE;
    ops[1].size = PAGE;
    unsigned failures = 0;
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    batch.mode = UNBIND_BATCH_ASYNC;
    batch.flags = UNBIND_BATCH_NO_WAIT;
    for (uint64_t n = 1;; n++) {
        gpu.hooks.fail_at = gpu.hooks.calls + n;
        int status = unbind_vm_submit(gpu.vm, ops, 2, &batch);
        gpu.hooks.fail_at = 0;
        if (status == 0) break;
        CHECK_EQUAL(status, -ENOMEM);
        CHECK_EQUAL(event_count(gpu.vm), before);
        failures++;
    }
    CHECK(failures > 24); /* six bindings with four events each, and more */
    CHECK_EQUAL(event_count(gpu.vm), before + 1 + 5 + 2 + 1); /* whole, pieces, two unbound, one bound */
    unbind_bo_unref(bo);
    close_with_tape(&gpu, &tape);
}

TEST(custom_backend, "on a program's own backend every bind is pending until it is done, or refused") {
    for (unsigned way = 0; way < 4; way++) {
        struct toy toy;
        struct tape tape;
        struct unbind_allocator allocator;
        toy_init(&toy, way % 2 ? TOY_BEFORE_RETURN : TOY_AT_ONCE);
        struct unbind_device_options options =
            gpu_options(&toy.gpu, way < 2 ? UNBIND_EXECUTOR_MANUAL : UNBIND_EXECUTOR_POOL, &allocator);
        memset(&tape, 0, sizeof tape);
        tape.events = (struct unbind_binding_event *)calloc(MOST, sizeof tape.events[0]);
        REQUIRE(tape.events != NULL);
        options.binding = play;
        options.binding_data = &tape;
        REQUIRE(unbind_device_open_custom(&toy.ops, &toy, &options, &toy.gpu.device) == 0);
        REQUIRE(unbind_vm_create(toy.gpu.device, NULL, &toy.gpu.vm) == 0);
        unbind_bo *bo = make_bo(&toy.gpu, PAGE);
        unbind_vma *vma = make_vma(&toy.gpu, bo, 0x10000);
        unbind_fence *fence = NULL;
        for (unsigned i = 0; i < 5; i++) {
            if (i == 2) toy_fail(&toy, TOY_MAP, -E2BIG, 1);
            CHECK_EQUAL(unbind_vma_bind_async(vma, 0, &fence), 0);
            CHECK_EQUAL(finish(fence), i == 2 ? -E2BIG : 0);
            CHECK_EQUAL(unbind_vma_unbind_async(vma, 0, &fence), 0);
            CHECK_EQUAL(finish(fence), 0);
        }
        CHECK_EQUAL(unbind_device_wait_idle(toy.gpu.device, FOREVER, 0), 0);
        CHECK_EQUAL(tape.count, event_count(toy.gpu.vm));
        unsigned done = 0, bound = 0;
        for (unsigned i = 0; i < tape.count; i++) {
            const struct unbind_binding_event *event = &tape.events[i];
            CHECK_EQUAL(event->number, i + 1);
            if (event->type == UNBIND_EVENT_BIND) CHECK_EQUAL(event->flags, UNBIND_EVENT_PENDING);
            bound += event->type == UNBIND_EVENT_BIND;
            if (event->type != UNBIND_EVENT_BIND_DONE) continue;
            CHECK_EQUAL(event->error, done == 2 ? -E2BIG : 0);
            done++;
        }
        CHECK(bound == 5 && done == 5);
        unbind_vma_unref(vma);
        unbind_bo_unref(bo);
        unbind_vm_unref(toy.gpu.vm);
        CHECK_EQUAL(unbind_device_close(toy.gpu.device, NULL), 0);
        unbind_device_unref(toy.gpu.device);
        toy_end(&toy);
        free(tape.events);
    }
}
