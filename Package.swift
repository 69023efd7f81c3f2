// swift-tools-version: 6.2
//
// One set of sources, four builds, chosen by UNBIND_BUILD (the Makefile sets it):
//
//   unset     ordinary Swift: the unit tests and everything they need, in one process
//   library   Embedded Swift: libunbind.so, with no Swift runtime in it or beside it
//   bench     the library's sources and Tests/bench/core as one module, compiled like the library, for `make bench`
//   tools     unbindctl and the Swift example, ordinary Swift, linked to the built libunbind.so

import PackageDescription

let build = Context.environment["UNBIND_BUILD"] ?? "tests"

let warnings: [SwiftSetting] = [.treatAllWarnings(as: .error)]

/// The module maps: the installed C header itself, so that exports are checked against the very
/// file users compile with, and what the core needs of the C library.
let systemTargets: [Target] = [
    .systemLibrary(name: "CUnbind", path: "include"),
    .target(name: "CSystem", path: "Sources/CSystem"),
]

/// libpciaccess and libdrm. Header-only targets: the first needs no flags, the second's come from pkg-config.
let intelTargets: [Target] = [
    .systemLibrary(name: "CPCIAccess", path: "Sources/CPCIAccess/include"),
    .systemLibrary(name: "CLibDRM", path: "Sources/CLibDRM/include", pkgConfig: "libdrm"),
]

let coreDependencies: [Target.Dependency] = ["CUnbind", "CSystem", "CPCIAccess", "CLibDRM"]

func core(_ extra: [SwiftSetting], linker: [LinkerSetting] = []) -> Target {
    .target(
        name: "UnbindCore", dependencies: coreDependencies, path: "Sources/UnbindCore",
        swiftSettings: warnings + extra, linkerSettings: linker)
}

/// The idiomatic Swift interface: written on the C functions alone, so it needs a libunbind to link to.
func swiftInterface(linkedTo library: [Target.Dependency]) -> Target {
    .target(name: "Unbind", dependencies: ["CUnbind"] + library, path: "Sources/Unbind", swiftSettings: warnings)
}

/// What the shipped library is compiled with, and what is measured.
let embedded: [SwiftSetting] = [
    .enableExperimentalFeature("Embedded"),
    .unsafeFlags(["-Xfrontend", "-function-sections"]),
]

let package: Package

switch build {
case "library":
    let root = Context.packageDirectory
    package = Package(
        name: "libunbind",
        products: [.library(name: "unbind", type: .dynamic, targets: ["UnbindCore"])],
        targets: systemTargets + intelTargets + [
            core(
                embedded,
                linker: [
                    .linkedLibrary("drm"), .linkedLibrary("pciaccess"),
                    .unsafeFlags([
                        // Only unbind_* leaves the library: the embedded runtime's weak swift_* symbols
                        // would otherwise bind to a real Swift runtime in the same process.
                        "-Xlinker", "--version-script=\(root)/pkgconfig/libunbind.map",
                        "-Xlinker", "-soname=libunbind.so.0",
                        "-Xlinker", "-z", "-Xlinker", "defs",
                        "-Xlinker", "-z", "-Xlinker", "now",
                        "-Xlinker", "-z", "-Xlinker", "relro",
                        "-Xlinker", "--gc-sections",
                        // The dependency set is part of what packagers rely on: it does not depend on what
                        // the linker finds to be used.
                        "-Xlinker", "--no-as-needed",
                    ]),
                ])
        ])
case "bench":
    package = Package(
        name: "libunbind",
        products: [.library(name: "unbindbench", type: .dynamic, targets: ["UnbindBench"])],
        targets: systemTargets + intelTargets + [
            .target(
                // "library" is a link to Sources/UnbindCore. The peer's back end only counts, and so does the file that
                // stands in for the one left out here.
                name: "UnbindBench", dependencies: coreDependencies, path: "Tests/bench",
                exclude: [
                    "library/Backends/Software/SoftwareSpace/SoftwareSpace+Bindings.swift",
                    "batches.c", "bench.h", "bench.map", "c_functions.c", "core.c", "lookups.c", "main.c",
                    "migrations.c", "peer.c", "public.h", "ranges.c", "report.c", "software_gpu.c", "threads.c",
                ],
                sources: ["library", "core"],
                swiftSettings: warnings + embedded,
                linkerSettings: [
                    .linkedLibrary("drm"), .linkedLibrary("pciaccess"),
                    .unsafeFlags([
                        "-Xlinker", "--version-script=\(Context.packageDirectory)/Tests/bench/bench.map",
                        "-Xlinker", "-soname=libunbindbench.so", "-Xlinker", "-z", "-Xlinker", "defs",
                        "-Xlinker", "-z", "-Xlinker", "now", "-Xlinker", "--gc-sections",
                    ])
                ])
        ])
case "tools":
    package = Package(
        name: "libunbind",
        products: [
            .executable(name: "unbindctl", targets: ["unbindctl"]),
            .executable(name: "swift_async_unbind", targets: ["swift_async_unbind"]),
        ],
        dependencies: [.package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")],
        targets: [
            systemTargets[0],
            swiftInterface(linkedTo: []),
            .executableTarget(
                name: "unbindctl",
                dependencies: ["Unbind", .product(name: "ArgumentParser", package: "swift-argument-parser")],
                path: "Sources/unbindctl", exclude: ["FORMAT.md"], swiftSettings: warnings),
            .executableTarget(
                name: "swift_async_unbind", dependencies: ["Unbind"], path: "examples/swift", swiftSettings: warnings),
        ])
default:
    package = Package(
        name: "libunbind",
        products: [.library(name: "Unbind", targets: ["Unbind"])],
        targets: systemTargets + intelTargets + [
            core([], linker: [.linkedLibrary("drm"), .linkedLibrary("pciaccess")]),
            swiftInterface(linkedTo: ["UnbindCore"]),
            .testTarget(
                name: "UnbindCoreTests", dependencies: ["UnbindCore", "CUnbind", "CSystem"],
                path: "Tests/UnbindCoreTests", swiftSettings: warnings),
            .testTarget(
                name: "UnbindTests", dependencies: ["Unbind"], path: "Tests/UnbindTests", swiftSettings: warnings),
        ])
}
