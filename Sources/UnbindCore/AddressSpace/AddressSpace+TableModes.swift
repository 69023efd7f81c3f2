// Page-table hazards (P9, M11): what disjoint ranges have to do with each other when a table has one page size.
//
// In an IPS space (SoftwareSpace+TableMode) a bind may change the mode of the tables at its two ends, which it shares
// with others. What is bound there allows the new mode, or is brought to it by the change; what is unbound and not yet
// finished may not: the GPU still uses its pages. So a bind that changes a mode waits for all pending unbinds in that
// table: the range it searches is rounded out to the table, as xe's range fences are. One that changes none does not.
//
// The mode follows from what is bound at the call of each bind, and so does not depend on how long anything takes.
//
// - Locking: the VM's lock is held.

/// Whether the tables at the two ends of a binding are to hold 64 KiB pages.
struct TableModes {
    var isFirstMedium = false
    var isLastMedium = false
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// The range that a bind has to search for pending unbinds, given the one it would otherwise search.
    func roundedToTables(_ range: ClosedRange<UInt64>, of binding: Binding) -> ClosedRange<UInt64> {
        if !pointee.options.hasTableModes { return range }
        #if DEBUG
            if pointee.flaw == .searchesOwnRangeOnly { return range }
        #endif
        var (first, last) = (range.lowerBound, range.upperBound)
        forEachSharedBlock(of: binding) { block in
            let isMedium = isMediumWanted(inBlock: block, by: binding)
            if !pointee.space.changesMode(ofBlock: block, isMedium: isMedium) { return }
            first = Swift.min(first, block)
            last = Swift.max(last, block &+ (PageSize.large &- 1))
        }
        return first...last
    }

    /// Decides the modes of the tables that a binding shares, as its search found them wanted. After it has reserved
    /// them, before it writes.
    func decideTableModes(_ modes: TableModes, for binding: inout Binding) {
        if !pointee.options.hasTableModes { return }
        let decision = pointee.space.nextDecision()
        binding.decision = decision
        let first = roundDown(binding.start, to: PageSize.large)
        forEachSharedBlock(of: binding) { block in
            let isMedium = block == first ? modes.isFirstMedium : modes.isLastMedium
            pointee.space.decideMode(ofBlock: block, isMedium: isMedium, decision: decision)
        }
    }

    /// The modes that the tables at the ends of a binding are to have. What its search was rounded out for holds, even
    /// if the bind evicts others before it decides.
    func tableModes(wantedBy binding: Binding) -> TableModes {
        if !pointee.options.hasTableModes { return TableModes() }
        let last = roundDown(binding.end &- 1, to: PageSize.large)
        return TableModes(
            isFirstMedium: isMediumWanted(inBlock: roundDown(binding.start, to: PageSize.large), by: binding),
            isLastMedium: isMediumWanted(inBlock: last, by: binding))
    }

    /// The blocks of 2 MiB at the ends of a binding, if it does not cover them.
    private func forEachSharedBlock(of binding: Binding, _ body: (UInt64) -> Void) {
        let first = roundDown(binding.start, to: PageSize.large)
        let last = roundDown(binding.end &- 1, to: PageSize.large)
        if !binding.covers(block: first) { body(first) }
        if last != first, !binding.covers(block: last) { body(last) }
    }

    /// Whether everything that is bound in the block, and the binding, allows a table of 64 KiB pages.
    private func isMediumWanted(inBlock block: UInt64, by binding: Binding) -> Bool {
        let pageSizes = pointee.options.pageSizes
        if !binding.allowsMedium(inBlock: block, pageSizes: pageSizes) { return false }
        var next = pointee.ranges.firstNode(endingAfter: block)
        while let node = next, node.pointee.start < block &+ PageSize.large {
            next = pointee.ranges.next(after: node)
            // The binding's own VMA has no resource yet; who is in its range makes way for it.
            if node.pointee.start < binding.end, node.pointee.end > binding.start { continue }
            guard let resource = VMAPointer(containing: node).pointee.resource else { continue }
            let other = resource.pointee.binding
            // Only its guards are in the block: there is nothing in the table.
            if other.end <= block || other.start >= block &+ PageSize.large { continue }
            if !other.allowsMedium(inBlock: block, pageSizes: pageSizes) { return false }
        }
        return true
    }
}
