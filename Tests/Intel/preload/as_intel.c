/* SPDX-License-Identifier: MIT */
/*
 * Preloaded into a program that opens the software GPU: it gets the first Intel GPU of the machine instead, and runs
 * unchanged otherwise.
 */
#include <unbind/unbind.h>

int unbind_device_open_software(const struct unbind_device_options *options, unbind_device **out_device) {
    return unbind_device_open_intel(NULL, NULL, options, out_device);
}
