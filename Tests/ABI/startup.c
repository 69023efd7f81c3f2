/* SPDX-License-Identifier: MIT */
/* Start-up: loading the library and opening a device. This program is not linked to the library. */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <unbind/unbind.h>

#include "check.h"

#include <dlfcn.h>
#include <time.h>

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* In a process of its own: microseconds from before dlopen to an open device. */
static int start_up_us(void) {
    int ends[2], microseconds = -1;
    REQUIRE(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        int (*open_software)(const struct unbind_device_options *, unbind_device **);
        int (*close_device)(unbind_device *, struct unbind_leak_report *);
        void (*unref)(unbind_device *);
        unbind_device *device = NULL;
        long long start = now_ns();
        void *library = dlopen("libunbind.so.0", RTLD_NOW | RTLD_LOCAL);
        REQUIRE(library != NULL);
        void *symbol = dlsym(library, "unbind_device_open_software");
        memcpy(&open_software, &symbol, sizeof symbol);
        REQUIRE(symbol != NULL && open_software(NULL, &device) == 0);
        microseconds = (int)((now_ns() - start) / 1000);
        symbol = dlsym(library, "unbind_device_close");
        memcpy(&close_device, &symbol, sizeof symbol);
        CHECK_EQUAL(close_device(device, NULL), 0);
        symbol = dlsym(library, "unbind_device_unref");
        memcpy(&unref, &symbol, sizeof symbol);
        unref(device);
        CHECK_EQUAL(dlclose(library), 0);
        CHECK(write(ends[1], &microseconds, sizeof microseconds) == sizeof microseconds);
        exit(check_failures != 0);
    }
    int status = 0;
    close(ends[1]);
    CHECK(read(ends[0], &microseconds, sizeof microseconds) == sizeof microseconds);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    close(ends[0]);
    return microseconds;
}

static int median_start_up_us(void) {
    int times[5];
    for (int i = 0; i < 5; i++) {
        times[i] = start_up_us();
        for (int j = i; j > 0 && times[j] < times[j - 1]; j--) {
            int swap = times[j];
            times[j] = times[j - 1];
            times[j - 1] = swap;
        }
    }
    return times[2];
}

TEST(starts_quickly, "dlopen and opening a device take less than 5 ms, the median of 5") {
    int median = median_start_up_us();
    if (getenv("UNDER_VALGRIND")) return;
    /* Again, while the machine has much else to do. */
    for (int round = 0; round < 20 && median >= 5000; round++) median = median_start_up_us();
    if (median >= 5000) printf("    %d us\n", median);
    CHECK(median < 5000);
}
