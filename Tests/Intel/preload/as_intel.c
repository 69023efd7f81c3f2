/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a program that opens the software GPU: it gets the first Intel GPU of the machine instead, and runs
 * unchanged otherwise. With INTEL_LONG_RUNNING its address spaces are of that kind.
 */
#include <unbind/unbind.h>

#include <stdlib.h>

int unbind_device_open_software(const struct unbind_device_options *options, unbind_device **out_device) {
    struct unbind_intel_options intel = UNBIND_INTEL_OPTIONS_INIT;
    if (getenv("INTEL_LONG_RUNNING")) intel.flags = UNBIND_INTEL_LONG_RUNNING;
    return unbind_device_open_intel(NULL, &intel, options, out_device);
}
