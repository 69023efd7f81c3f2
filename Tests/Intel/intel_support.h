/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the Intel backends share: a machine of the mock kernel
 * (Tests/Mock), a device on its GPU, and what the mock's log says.
 */
#ifndef UNBIND_TESTS_INTEL_SUPPORT_H
#define UNBIND_TESTS_INTEL_SUPPORT_H

#include "../ABI/support.h"

#include <dlfcn.h>
#include <stdarg.h>
#include <sys/ioctl.h>

static char log_path[256];

/* Makes the machine anew with these variables: NAME, VALUE pairs without UNBIND_MOCK_, then NULL. */
__attribute__((sentinel)) static inline void machine(const char *name, ...) {
    void (*restart)(void) = NULL;
    *(void **)&restart = dlsym(RTLD_DEFAULT, "unbind_mock_restart");
    if (!restart) {
        printf("    the mock is not loaded: run Tests/Intel/run\n");
        exit(1);
    }
    const char *directory = getenv("TMPDIR");
    snprintf(log_path, sizeof log_path, "%s/mock.%d.log", directory ? directory : "/tmp", (int)getpid());
    // The mock opens it once.
    if (access(log_path, F_OK) == 0) CHECK_EQUAL(truncate(log_path, 0), 0);
    setenv("UNBIND_MOCK_MACHINE", name, 1);
    setenv("UNBIND_MOCK_LOG", log_path, 1);
    va_list list;
    va_start(list, name);
    for (const char *variable; (variable = va_arg(list, const char *)) != NULL;) {
        char full[64];
        snprintf(full, sizeof full, "UNBIND_MOCK_%s", variable);
        setenv(full, va_arg(list, const char *), 1);
    }
    va_end(list);
    restart();
}

/* These calls of the kernel fail from here on, instead of those that have: as in UNBIND_MOCK_FAIL. */
static inline void fail_from_now_on(const char *calls) {
    void (*read_anew)(void) = NULL;
    *(void **)&read_anew = dlsym(RTLD_DEFAULT, "unbind_mock_fail_anew");
    REQUIRE(read_anew != NULL);
    setenv("UNBIND_MOCK_FAIL", calls, 1);
    read_anew();
}

/* The machine that the runner asks for, else this one. */
static inline const char *machine_name(const char *otherwise) {
    const char *name = getenv("INTEL_MACHINE");
    return name ? name : otherwise;
}

/* Lines of the log in which every one of up to two words occurs; SIZE_MAX: no log. */
static inline size_t log_count(const char *first, const char *second) {
    char line[1024];
    size_t count = 0;
    FILE *file = fopen(log_path, "r");
    if (!file) return SIZE_MAX;
    while (fgets(line, sizeof line, file)) count += strstr(line, first) && (!second || strstr(line, second));
    fclose(file);
    return count;
}

/* Waits for lines of the log. */
static inline bool log_comes_to(size_t number, const char *first, const char *second) {
    for (unsigned tries = 0; tries < 2000 && log_count(first, second) < number; tries++) sleep_ms(1);
    return log_count(first, second) >= number;
}

static inline void log_forget(void) { CHECK_EQUAL(truncate(log_path, 0), 0); }

/* Ends a test: every node is closed, and nothing was left in it; no batch met a stale translation or hung. */
static inline void log_check_clean(void) {
    CHECK(log_count("close node", NULL) > 0);
    CHECK_EQUAL(log_count("close node", "objects=0 syncobjs=0 vms=0 queues=0"), log_count("close node", NULL));
    CHECK_EQUAL(log_count("stale", NULL), 0);
    CHECK_EQUAL(log_count("hang", NULL), 0);
    CHECK_EQUAL(log_count("queue-destroyed", NULL), 0);
}

/* The runner asks for long-running address spaces. */
static inline bool is_long_running(void) { return getenv("INTEL_LONG_RUNNING") != NULL; }

/* Without options of its own: those that the runner asks for. In long-running spaces what was bound a moment ago is
 * busy: a call of VM_BIND may be in the log several times, once with result=0. */
static inline int intel_try_open(struct gpu *gpu, const struct unbind_intel_options *intel, uint32_t executor) {
    struct unbind_allocator allocator;
    struct unbind_device_options options = gpu_options(gpu, executor, &allocator);
    struct unbind_intel_options chosen = UNBIND_INTEL_OPTIONS_INIT;
    if (is_long_running()) chosen.flags = UNBIND_INTEL_LONG_RUNNING;
    return unbind_device_open_intel(NULL, intel ? intel : &chosen, &options, &gpu->device);
}

static inline void intel_open(struct gpu *gpu, uint32_t executor) {
    REQUIRE(intel_try_open(gpu, NULL, executor) == 0);
    REQUIRE(unbind_vm_create(gpu->device, NULL, &gpu->vm) == 0);
}

static inline void intel_close(struct gpu *gpu) {
    gpu_close(gpu);
    log_check_clean();
}

/* A buffer and its place in the VM. */
struct binding {
    unbind_bo *bo;
    unbind_vma *vma;
    uint64_t address;
};

static inline struct binding bind_buffer(struct gpu *gpu, uint64_t size, uint64_t address) {
    struct binding binding = {make_bo(gpu, size), NULL, address};
    binding.vma = make_vma(gpu, binding.bo, address);
    REQUIRE(unbind_vma_bind(binding.vma, 0) == 0);
    if (address == UNBIND_ADDRESS_NONE) binding.address = unbind_vma_address(binding.vma);
    return binding;
}

static inline void drop_binding(struct binding *binding) {
    unbind_vma_unref(binding->vma);
    unbind_bo_unref(binding->bo);
}

static inline uint64_t cpu_read(unbind_bo *bo, uint64_t offset) {
    uint64_t value;
    const char *bytes = (const char *)unbind_bo_cpu_pointer(bo);
    REQUIRE(bytes != NULL);
    memcpy(&value, bytes + offset, sizeof value);
    return value;
}

/* The GPU stores 64 bits at an address; gives the job's error. */
static inline int store(unbind_queue *queue, unbind_vma *vma, uint64_t address, uint64_t value) {
    struct unbind_command command = command_store(address, value);
    unbind_fence *fence = NULL;
    REQUIRE(submit(queue, &command, 1, vma, NULL, &fence) == 0);
    return finish(fence);
}

#endif
