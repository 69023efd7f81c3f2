// MappingContent: what a mapping shows, and under which flags.
//
// Mappings are made by batches (unbind_vm_submit). To the address space each is a VMA without a handle, pinned, with a
// fixed range and a part of its buffer: so holds, dumps, suspending and closing know it as they know any other. Its own
// reference goes when its range does. A null mapping has the VM's null buffer behind it, in which all places are alike.

/// What is said of a mapping besides the part of the buffer.
struct MappingFlags: Equatable {
    /// UNBIND_OP_READ_ONLY, UNBIND_OP_CAPTURE.
    var flags: UInt32 = 0
    var cacheLevel: UInt32 = 0
    var isNull = false

    static var readOnly: UInt32 { 1 << 0 }
}

struct MappingContent {
    var bo: BufferObjectPointer
    /// Of the first byte, in the buffer.
    var offset: UInt64
    var flags = MappingFlags()

    var isNull: Bool { flags.isNull }
    var isReadOnly: Bool { flags.flags & MappingFlags.readOnly != 0 }

    /// The same, from so many bytes on.
    func advanced(by bytes: UInt64) -> MappingContent {
        var content = self
        if !isNull { content.offset = offset &+ bytes }
        return content
    }

    /// The same translation and flags.
    func equals(_ other: MappingContent) -> Bool {
        bo == other.bo && offset == other.offset && flags == other.flags
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    /// An unbound VMA for a mapping, without a handle; its one reference goes with its range.
    /// - Failure: as of make.
    static func makeMapping(
        vm: VMPointer, content: MappingContent, start: UInt64, size: UInt64
    ) throws(Status) -> VMAPointer {
        var layout = ViewLayout()
        layout.kind = .partial
        layout.offset = content.offset
        layout.size = size
        layout.mapping = content.flags
        let options = VMAOptions(fixedAddress: start, isReadOnly: content.isReadOnly)
        let vma = try make(vm: vm, bo: content.bo, options: options, layout: layout)
        _ = vma.pointee.count.dropHandle()
        vm.pointee.device.handleDropped(.vma)
        return vma
    }

    @inline(__always)
    var isMapping: Bool { pointee.view?.pointee.mapping != nil }

    /// What it shows, if it is a mapping.
    var mapping: MappingContent? {
        guard let view = pointee.view, let flags = view.pointee.mapping else { return nil }
        return MappingContent(bo: pointee.bo, offset: view.pointee.offset, flags: flags)
    }
}

extension MappingContent {
    /// What the page tables are told.
    func binding(at start: UInt64, size: UInt64, of pages: PageListPointer) -> Binding {
        Binding(
            start: start, size: size, physical: isNull ? start : pages.pointee.physical,
            isLocal: pages.pointee.isLocal, isReadOnly: isReadOnly, isNull: isNull)
    }

    /// The list of its pages, with a reference that its binding is to have.
    /// - Failure: noMemory.
    func makePages(of pages: PageListPointer, size: UInt64) throws(Status) -> PageListPointer {
        if isNull {
            pages.retain()
            return pages
        }
        guard let view = pages.makeView(size: size, offset: offset, segments: nil, segmentCount: 0) else {
            throw Status.noMemory
        }
        return view
    }
}
