// Sysfs: what libpciaccess does not tell, or tells only by waking the GPU up, read from the kernel's files.
//
// libpciaccess reads a device's regions with its configuration space, which resumes a sleeping GPU, and from which an
// unprivileged reader gets the first 64 bytes. The file `resource` says the same and wakes nobody.

import CPCIAccess
import CSystem

/// One of a device's six regions. Size 0: not there, or without an address.
struct PCIRegion {
    var size: UInt64 = 0
    var isPorts = false
}

enum Sysfs {
    /// The path of a PCI device's file.
    static func path(_ address: PCIAddress, _ file: StaticString) -> FixedText {
        var path = FixedText()
        path.append("/sys/bus/pci/devices/")
        path.append(address.text)
        path.byte(UInt8(ascii: "/"))
        path.append(file)
        return path
    }

    /// A file with one hexadecimal number, such as 0x8086.
    static func number(_ address: PCIAddress, _ file: StaticString) -> UInt64? {
        read(path(address, file)) { text in
            var cursor = TextCursor(text)
            return cursor.take("0x") ? cursor.hex(digits: 1...16) : nil
        }
    }

    static func regions(_ address: PCIAddress) -> InlineArray<6, PCIRegion> {
        var regions = InlineArray<6, PCIRegion>(repeating: PCIRegion())
        let isPortsFlag: UInt64 = 0x100
        _ = read(path(address, "resource")) { text -> Bool? in
            var cursor = TextCursor(text)
            for index in 0..<6 {
                guard let first = line(&cursor), let last = line(&cursor), let flags = line(&cursor) else { return nil }
                if first == 0 || last < first { continue }
                regions[index] = PCIRegion(size: last &- first &+ 1, isPorts: flags & isPortsFlag != 0)
            }
            return true
        }
        return regions
    }

    private static func line(_ cursor: inout TextCursor) -> UInt64? {
        cursor.skipBlanks()
        return cursor.take("0x") ? cursor.hex(digits: 1...16) : nil
    }

    /// The name of the driver that has the device; empty if none has.
    static func driver(_ address: PCIAddress) -> FixedText {
        linkTarget(path(address, "driver")) { name in
            var text = FixedText()
            text.append(name)
            return text
        } ?? FixedText()
    }

    /// The PCI device that a device node belongs to.
    static func pciAddress(ofNode number: UInt64) -> PCIAddress? {
        var path = FixedText()
        path.append("/sys/dev/char/")
        path.decimal(cpci_major(number))
        path.byte(UInt8(ascii: ":"))
        path.decimal(cpci_minor(number))
        path.append("/device")
        return linkTarget(path) { name in
            var cursor = TextCursor(name)
            guard let address = cursor.pciAddress(), cursor.isAtEnd else { return nil }
            return address
        }
    }

    /// Reads a file of up to 1 KiB.
    private static func read<R>(_ path: FixedText, _ body: (TextSlice) -> R?) -> R? {
        let file = path.withCString { $0.map { cpci_open_read($0) } ?? -ENAMETOOLONG }
        if file < 0 { return nil }
        defer { csys_fd_close(file) }
        return withUnsafeTemporaryAllocation(byteCount: 1024, alignment: 1) { buffer in
            var length = 0
            while length < buffer.count {
                let got = CSystem.read(file, buffer.baseAddress! + length, buffer.count - length)
                if got < 0 { return nil }
                if got == 0 { break }
                length += got
            }
            let bytes = UnsafePointer(buffer.baseAddress!.assumingMemoryBound(to: UInt8.self))
            return body(TextSlice(start: bytes, count: length))
        }
    }

    /// The last part of what a symbolic link points to.
    private static func linkTarget<R>(_ path: FixedText, _ body: (TextSlice) -> R?) -> R? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 1024) { buffer in
            let length = path.withCString { $0.map { readlink($0, buffer.baseAddress!, buffer.count) } ?? -1 }
            // A target that fills the buffer may have been cut.
            if length <= 0 || length == buffer.count { return nil }
            let bytes = UnsafeRawPointer(buffer.baseAddress!).assumingMemoryBound(to: UInt8.self)
            var begin = length
            while begin > 0, bytes[begin - 1] != UInt8(ascii: "/") { begin -= 1 }
            return body(TextSlice(start: bytes + begin, count: length - begin))
        }
    }
}
