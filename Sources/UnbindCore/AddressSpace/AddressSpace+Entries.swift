// The page tables of a binding, whose pages are one piece or, in a view, several.
//
// Each piece is a binding of its own to the page tables: it reserves, writes and lets go of its tables by itself.

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// Takes the page tables that the binding needs: all or none.
    /// - Failure: noMemory, closed.
    /// - Signalling: allocates: not in a signalling section.
    func reserveEntries(of binding: Binding, _ pages: PageListPointer) throws(Status) {
        if pointee.backendSpace != nil { return }
        guard let segments = pages.pointee.segments else { return try pointee.space.reserve(binding) }
        var index = 0
        do throws(Status) {
            while index < pages.pointee.segmentCount {
                try pointee.space.reserve(binding.piece(segments[index]))
                index += 1
            }
        } catch {
            while index > 0 {
                index -= 1
                pointee.space.cancel(binding.piece(segments[index]))
            }
            throw error
        }
    }
}

extension Binding {
    /// `physical` of a binding in several pieces is where the buffer begins.
    fileprivate func piece(_ segment: ViewSegment) -> Binding {
        Binding(
            start: start &+ segment.offset, size: segment.size, physical: physical &+ segment.bufferOffset,
            isLocal: isLocal, isReadOnly: isReadOnly, decision: decision)
    }

    /// One of its pieces, which are in order of addresses.
    func piece(_ index: Int, of pages: PageListPointer) -> Binding {
        guard let segments = pages.pointee.segments else { return self }
        return piece(segments[index])
    }

    /// Calls `body` for each piece, in order of addresses.
    @inline(__always)
    func forEachPiece(of pages: PageListPointer, _ body: (Binding) -> Void) {
        guard let segments = pages.pointee.segments else { return body(self) }
        for index in 0..<pages.pointee.segmentCount { body(piece(segments[index])) }
    }
}
