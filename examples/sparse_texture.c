/* SPDX-License-Identifier: MIT */
/*
 * A sparse texture in miniature: 64 MiB of addresses, of which only the tiles
 * that a frame looks at have memory.
 *
 * All of it is a null mapping at first: reads give zero, nothing faults. Each
 * frame the pool's tiles are mapped where the frame looks, and the places they
 * leave are null again: one batch a frame, which the library carries out when
 * the jobs before it have ended. The program waits for nothing but the last frame.
 */
#include <stdio.h>
#include <unbind/unbind.h>

#define TRY(call)                                                                    \
    do {                                                                             \
        int status = (call);                                                         \
        if (status < 0) {                                                            \
            fprintf(stderr, "%s: %s\n", unbind_status_name(status), unbind_status_string(status)); \
            return 1;                                                                \
        }                                                                            \
    } while (0)

enum { TILE = 65536, TILES = 1024, POOL = 4, FRAMES = 100, TEXTURE = 0x10000000 };

static uint64_t place(int frame, int slot) { return (uint64_t)TEXTURE + (uint64_t)((frame * 7 + slot * 131) % TILES) * TILE; }

int main(void) {
    struct unbind_batch batch = UNBIND_BATCH_INIT;
    unbind_device *device;
    unbind_vm *vm;
    unbind_bo *pool;
    unbind_queue *queue;
    unbind_bind_queue *binds;
    unbind_fence *mapped, *drawn[FRAMES];
    int failed = 0, tiles = 0;

    TRY(unbind_device_open_software(NULL, &device));
    TRY(unbind_vm_create(device, NULL, &vm));
    TRY(unbind_queue_create(vm, 0, &queue));
    TRY(unbind_bind_queue_create(vm, 0, &binds));
    TRY(unbind_bo_create(device, POOL * TILE, UNBIND_REGION_SYSTEM, 0, &pool));

    struct unbind_op nothing = {.op = UNBIND_OP_MAP_NULL, .address = TEXTURE, .size = (uint64_t)TILES * TILE};
    TRY(unbind_vm_submit(vm, &nothing, 1, NULL));

    batch.mode = UNBIND_BATCH_DEFER_TO_IDLE;
    batch.queue = binds;
    batch.out_fence = &mapped;
    for (int frame = 0; frame < FRAMES; frame++) {
        struct unbind_op ops[2 * POOL];
        struct unbind_command draw[POOL + 1];
        struct unbind_submit job = UNBIND_SUBMIT_INIT;
        for (int slot = 0; slot < POOL; slot++) {
            ops[slot] = (struct unbind_op){.op = UNBIND_OP_MAP_NULL, .address = place(frame - 1 + !frame, slot), .size = TILE};
            ops[POOL + slot] = (struct unbind_op){.op = UNBIND_OP_MAP, .address = place(frame, slot), .size = TILE,
                                                  .bo = pool, .offset = (uint64_t)slot * TILE};
            draw[slot] = (struct unbind_command){.op = UNBIND_COMMAND_FILL, .address = place(frame, slot), .size = TILE,
                                                 .value = (uint64_t)frame};
        }
        draw[POOL] = (struct unbind_command){.op = UNBIND_COMMAND_DELAY, .value = 1000000};
        TRY(unbind_vm_submit(vm, ops, 2 * POOL, &batch));
        job.commands = draw, job.command_count = POOL + 1;
        job.wait_fences = &mapped, job.wait_fence_count = 1;
        TRY(unbind_queue_submit(queue, &job, &drawn[frame]));
        unbind_fence_unref(mapped);
    }
    TRY(unbind_fence_wait(drawn[FRAMES - 1], UNBIND_TIMEOUT_INFINITE, 0));
    for (int frame = 0; frame < FRAMES; frame++) {
        int error = 0;
        TRY(unbind_fence_get_error(drawn[frame], &error));
        failed += error != 0;
        unbind_fence_unref(drawn[frame]);
    }
    for (int tile = 0; tile < TILES; tile++) {
        struct unbind_lookup there = UNBIND_LOOKUP_INIT;
        TRY(unbind_vm_lookup(vm, (uint64_t)TEXTURE + (uint64_t)tile * TILE, &there));
        tiles += there.bo_id == unbind_bo_id(pool);
    }
    uint32_t last = ((uint32_t *)unbind_bo_cpu_pointer(pool))[POOL * TILE / 4 - 1];
    printf("frames drawn              %d\n", FRAMES - failed);
    printf("tiles that have memory    %d of %d\n", tiles, TILES);
    printf("the last tile shows frame %u\n", last);
    unbind_bo_unref(pool), unbind_queue_unref(queue), unbind_bind_queue_unref(binds);
    unbind_vm_unref(vm), unbind_device_unref(device);
    return last == FRAMES - 1 && failed == 0 && tiles == POOL ? 0 : 1;
}
