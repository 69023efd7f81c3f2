// What unbindctl probe says of a GPU.

import Glibc
import Unbind

extension GPUInfo {
    /// A heading and a table of two columns.
    var lines: [String] {
        var rows = [("platform", platformText), ("PCI", ids), ("driver", driverText), ("render node", renderText)]
        if let primaryNode { rows.append(("primary node", primaryNode)) }
        switch answer {
        case .success(let answer) where driver == .i915 || driver == .xe:
            rows.append(("address spaces", answer.addressText))
            rows.append(("local memory", answer.localText))
        case .success, .failure: break
        }
        for region in regions { rows.append(("region \(region.index)", region.text)) }
        return [heading] + rows.map { name, value in
            "  \(name)\(String(repeating: " ", count: max(0, 16 - name.count)))\(value)"
        }
    }

    var heading: String { "\(pciAddress)  \(name.map { Self.branded($0) } ?? "Intel GPU")" }

    /// Some names come with the maker's and some without.
    private static func branded(_ name: String) -> String { name.hasPrefix("Intel") ? name : "Intel \(name)" }

    private var platformText: String {
        let kind = kind == .unknown ? "" : ", \(kind)"
        guard let platform else {
            return "unknown to this version of libunbind" + (versionText.map { ", graphics \($0)" } ?? "") + kind
        }
        let short = platform.name == platform.codename ? "" : " (\(platform.name))"
        return "\(platform.codename)\(short), \(platform.family) \(versionText ?? "")\(kind)"
    }

    /// From 12.10 on a version has two digits after the point, before that one.
    private var versionText: String? {
        graphicsVersion.map { version in
            let isLong = version.major > 12 || version.minor >= 10
            return "\(version.major)." + (isLong && version.minor < 10 ? "0" : "") + "\(version.minor)"
        }
    }

    private var ids: String {
        var text = "\(hex(vendorID)):\(hex(deviceID)) revision \(String(revision, radix: 16))"
        if subsystemVendorID != 0 { text += ", board \(hex(subsystemVendorID)):\(hex(subsystemDeviceID))" }
        return text
    }

    private var driverText: String {
        guard let driverName else { return "none" }
        switch answer {
        case .success(let answer): return "\(driverName) \(answer.versionText)"
        case .failure(let refusal) where openErrno == 0:
            return "\(driverName), which refuses to answer: \(String(cString: strerror(refusal.errno)))"
        case .failure: return driverName
        }
    }

    private var renderText: String {
        guard let renderNode else { return "none" }
        switch openErrno {
        case nil: return renderNode
        case 0: return "\(renderNode), can be opened"
        case EACCES, EPERM:
            return "\(renderNode), may not be opened (is this user in the group \"render\"?)"
        case let number?: return "\(renderNode), cannot be opened: \(String(cString: strerror(number)))"
        }
    }

    var json: JSON {
        func optional(_ text: String?) -> JSON { text.map { .string($0) } ?? .null }
        var members: [(String, JSON)] = [
            ("pci_address", .string(pciAddress)), ("vendor", .string(hex(vendorID))),
            ("device", .string(hex(deviceID))), ("subsystem_vendor", .string(hex(subsystemVendorID))),
            ("subsystem_device", .string(hex(subsystemDeviceID))), ("revision", .number(Int(revision))),
            ("name", optional(name)), ("platform", optional(platform?.name)),
            ("codename", optional(platform?.codename)), ("family", optional(platform?.family)),
            ("graphics_version", optional(versionText)), ("type", .string("\(kind)")), ("driver", optional(driverName)),
            ("render_node", optional(renderNode)), ("primary_node", optional(primaryNode)),
            ("can_open", openErrno.map { .bool($0 == 0) } ?? .null),
            ("open_error", openErrno.flatMap { $0 == 0 ? nil : .string(String(cString: strerror($0))) } ?? .null),
        ]
        switch answer {
        case .success(let answer): members += answer.json + [("query_error", .null)]
        case .failure(let refusal):
            members += [
                ("driver_version", .null), ("va_bits", .null), ("local_memory_bytes", .null),
                ("local_visible_bytes", .null), ("address_spaces", .null),
                ("query_error", refusal.errno == 0 ? .null : .string(String(cString: strerror(refusal.errno)))),
            ]
        }
        members.append(("regions", .array(regions.map(\.json))))
        return .object(members)
    }
}

/// Four digits, as PCI ids are written.
private func hex(_ id: UInt16) -> String {
    let digits = String(id, radix: 16)
    return String(repeating: "0", count: 4 - digits.count) + digits
}

extension GPUInfo.Answer {
    fileprivate var versionText: String { "\(version.major).\(version.minor).\(version.patch)" }

    fileprivate var addressText: String {
        hasAddressSpaces ? "\(addressBits) bits, the program's own" : "\(addressBits) bits, none of the program's own"
    }

    fileprivate var localText: String {
        if localMemoryBytes == 0 { return "none" }
        if localVisibleBytes >= localMemoryBytes { return "\(byteCount(localMemoryBytes)), all visible to the CPU" }
        return "\(byteCount(localMemoryBytes)), \(byteCount(localVisibleBytes)) visible to the CPU"
    }

    fileprivate var json: [(String, JSON)] {
        [
            ("driver_version", .string(versionText)), ("va_bits", .number(addressBits)),
            ("local_memory_bytes", .number(localMemoryBytes)), ("local_visible_bytes", .number(localVisibleBytes)),
            ("address_spaces", .bool(hasAddressSpaces)),
        ]
    }
}

extension GPUInfo.Region {
    fileprivate var text: String { "\(byteCount(bytes)), \(words)" }

    private var words: String {
        switch kind {
        case .none, .other: "not known"
        case .registers: "registers"
        case .aperture: "aperture (window on the global page table)"
        case .localMemory: "local memory"
        case .stolenMemory: "stolen memory"
        case .pageTable: "global page table"
        case .ports: "I/O ports"
        }
    }

    fileprivate var json: JSON {
        .object([("index", .number(index)), ("bytes", .number(bytes)), ("kind", .string("\(kind)"))])
    }
}
