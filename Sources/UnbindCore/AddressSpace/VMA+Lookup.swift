// Finding the VMA of a buffer in an address space (i915_vma_instance, but for making one).
//
// A buffer keeps its VMAs in a tree, by address space and view, so that one with thousands of partial views, or in
// thousands of address spaces, finds each as quickly. What batches map is not in it: nobody has a handle of that.
//
// - Locking: the lock of the buffer's list.

/// By address space, then by view; of equal ones the newest last.
enum VMAOrder: TreeRule {
    static func precedes(_ links: TreeLinksPointer, _ other: TreeLinksPointer) -> Bool {
        let vma = VMAPointer(having: links)
        return precedes(vma.pointee.vm, vma.pointee.view, VMAPointer(having: other))
    }

    static func refresh(_ node: TreeLinksPointer) -> Bool { false }

    /// No view: all of the buffer as it is, which comes first.
    fileprivate static func precedes(
        _ vm: VMPointer, _ view: UnsafeMutablePointer<ViewLayout>?, _ other: VMAPointer
    ) -> Bool {
        if vm != other.pointee.vm { return vm < other.pointee.vm }
        guard let otherView = other.pointee.view else { return false }
        guard let view else { return true }
        return view.precedes(otherView)
    }
}

extension UnsafeMutablePointer where Pointee == BufferObject {
    var views: UnsafeMutablePointer<AugmentedTree<VMAOrder>> {
        memberPointer(of: self, at: BufferObject.viewsOffset, as: AugmentedTree<VMAOrder>.self)
    }

    /// The newest VMA of that view that somebody has a handle of, with another handle; nil if there is none.
    /// - Locking: nothing may be held.
    func vmaWithHandle(in vm: VMPointer, _ layout: ViewLayout) -> VMAPointer? {
        var layout = layout
        return withUnsafeMutablePointer(to: &layout) { vmaWithHandle(in: vm, $0.pointee.kind == .normal ? nil : $0) }
    }

    private func vmaWithHandle(in vm: VMPointer, _ view: UnsafeMutablePointer<ViewLayout>?) -> VMAPointer? {
        pointee.listLock.acquire()
        defer { pointee.listLock.release() }
        // The last that does not come after it.
        var candidate: TreeLinksPointer?
        var next = views.pointee.root
        while let links = next {
            let isAfter = VMAOrder.precedes(vm, view, VMAPointer(having: links))
            if !isAfter { candidate = links }
            next = links.child(isAfter ? .left : .right)
        }
        while let links = candidate {
            let vma = VMAPointer(having: links)
            if vma.pointee.vm != vm || vma.pointee.view?.pointee != view?.pointee { return nil }
            // The handles have a reference of their own: while there is one it stays in the list.
            if vma.pointee.count.tryRetainHandle() { return vma }
            candidate = links.neighbor(.left)
        }
        return nil
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    fileprivate init(having links: TreeLinksPointer) {
        self = (UnsafeMutableRawPointer(links) - VMA.linksOffset).assumingMemoryBound(to: VMA.self)
    }

    var links: TreeLinksPointer { memberPointer(of: self, at: VMA.linksOffset, as: TreeLinks.self) }
}

extension UnsafeMutablePointer where Pointee == ViewLayout {
    fileprivate func precedes(_ other: UnsafeMutablePointer<ViewLayout>) -> Bool {
        if pointee.kind != other.pointee.kind { return pointee.kind.rawValue < other.pointee.kind.rawValue }
        if pointee.offset != other.pointee.offset { return pointee.offset < other.pointee.offset }
        if pointee.size != other.pointee.size { return pointee.size < other.pointee.size }
        if pointee.planeCount != other.pointee.planeCount { return pointee.planeCount < other.pointee.planeCount }
        for index in 0..<pointee.planeCount {
            let (one, two) = (pointee.plane(index), other.pointee.plane(index))
            if one != two { return one.precedes(two) }
        }
        return false
    }
}

extension ViewPlane {
    fileprivate func precedes(_ other: ViewPlane) -> Bool {
        if offset != other.offset { return offset < other.offset }
        if width != other.width { return width < other.width }
        if height != other.height { return height < other.height }
        if sourceStride != other.sourceStride { return sourceStride < other.sourceStride }
        return targetStride < other.targetStride
    }
}
