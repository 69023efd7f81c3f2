// The page-table entries of a binding, whose pages are one piece or, in a view, several.
//
// Each piece is a binding of its own to the page tables: it reserves, writes and lets go of its tables by itself.
//
// - Signalling: all but reserveEntries.

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// Takes the page tables that the binding needs: all or none.
    /// - Failure: noMemory.
    func reserveEntries(of binding: Binding, _ pages: PageListPointer) throws(Status) {
        guard let segments = pages.pointee.segments else { return try pointee.space.reserve(binding) }
        var index = 0
        do throws(Status) {
            while index < pages.pointee.segmentCount {
                try pointee.space.reserve(piece(of: binding, segments[index]))
                index += 1
            }
        } catch {
            while index > 0 {
                index -= 1
                pointee.space.cancel(piece(of: binding, segments[index]))
            }
            throw error
        }
    }

    /// The number of entries written.
    func writeEntries(of binding: Binding, _ pages: PageListPointer) -> UInt64 {
        var entries: UInt64 = 0
        forEachPiece(of: binding, pages) { entries += pointee.space.write($0) }
        return entries
    }

    /// Adds write access; the number of entries changed.
    func upgradeEntries(of binding: Binding, _ pages: PageListPointer) -> UInt64 {
        var entries: UInt64 = 0
        forEachPiece(of: binding, pages) { entries += pointee.space.makeWritable($0) }
        return entries
    }

    /// The number of entries cleared.
    func clearEntries(of binding: Binding, _ pages: PageListPointer) -> UInt64 {
        var entries: UInt64 = 0
        forEachPiece(of: binding, pages) { entries += pointee.space.clear($0) }
        return entries
    }

    /// Leaves the entries where they are.
    func skipEntries(of binding: Binding, _ pages: PageListPointer) {
        forEachPiece(of: binding, pages) { pointee.space.skip($0) }
    }

    @inline(__always)
    private func forEachPiece(of binding: Binding, _ pages: PageListPointer, _ body: (Binding) -> Void) {
        guard let segments = pages.pointee.segments else { return body(binding) }
        for index in 0..<pages.pointee.segmentCount { body(piece(of: binding, segments[index])) }
    }

    /// `physical` of a binding in several pieces is where the buffer begins.
    private func piece(of binding: Binding, _ segment: ViewSegment) -> Binding {
        Binding(
            start: binding.start &+ segment.offset, size: segment.size,
            physical: binding.physical &+ segment.bufferOffset, isLocal: binding.isLocal,
            isReadOnly: binding.isReadOnly)
    }
}
