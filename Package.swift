// swift-tools-version: 6.2
//
// One set of sources, three builds, chosen by UNBIND_BUILD (the Makefile sets it):
//
//   unset     ordinary Swift: the unit tests and everything they need, in one process
//   library   Embedded Swift: libunbind.so, with no Swift runtime in it or beside it
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

func core(_ extra: [SwiftSetting], linker: [LinkerSetting] = []) -> Target {
    .target(
        name: "UnbindCore", dependencies: ["CUnbind", "CSystem", "CPCIAccess", "CLibDRM"], path: "Sources/UnbindCore",
        swiftSettings: warnings + extra, linkerSettings: linker)
}

/// The idiomatic Swift interface: written on the C functions alone, so it needs a libunbind to link to.
func swiftInterface(linkedTo library: [Target.Dependency]) -> Target {
    .target(name: "Unbind", dependencies: ["CUnbind"] + library, path: "Sources/Unbind", swiftSettings: warnings)
}

let package: Package

switch build {
case "library":
    let root = Context.packageDirectory
    package = Package(
        name: "libunbind",
        products: [.library(name: "unbind", type: .dynamic, targets: ["UnbindCore"])],
        targets: systemTargets + intelTargets + [
            core(
                [
                    .enableExperimentalFeature("Embedded"),
                    .unsafeFlags(["-Xfrontend", "-function-sections"]),
                ],
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
