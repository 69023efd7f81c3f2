// Page-table hazards (P9, M11): what disjoint ranges have to do with each other when a table has one page size.
//
// In an IPS space (SoftwareSpace+TableMode) a bind may change the mode of the tables at its two ends, which it shares with
// others. What is bound there allows the new mode, or is brought to it by the change; what is unbound and not yet
// finished may not: the GPU still uses its pages. So a bind that changes a mode waits for all pending unbinds in that
// table: the range it searches is rounded out to the table, as xe's range fences are. One that changes none does not.
//
// The mode follows from what is bound at the call of each bind, and so does not depend on how long anything takes.
//
// - Locking: the VM's lock is held.

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

    /// Decides the modes of the tables that a binding shares. After it has reserved them, before it writes.
    func decideTableModes(for binding: inout Binding) {
        if !pointee.options.hasTableModes { return }
        let decision = pointee.space.nextDecision()
        binding.decision = decision
        let decided = binding
        forEachSharedBlock(of: decided) { block in
            let isMedium = isMediumWanted(inBlock: block, by: decided)
            pointee.space.decideMode(ofBlock: block, isMedium: isMedium, decision: decision)
        }
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
            // The binding's own VMA has no resource yet.
            guard let resource = VMAPointer(containing: node).pointee.resource else { continue }
            if !resource.pointee.binding.allowsMedium(inBlock: block, pageSizes: pageSizes) { return false }
        }
        return true
    }
}
