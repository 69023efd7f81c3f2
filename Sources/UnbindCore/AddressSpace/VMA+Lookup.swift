// Finding the VMA of a buffer in an address space (i915_vma_instance, but for making one).

extension UnsafeMutablePointer where Pointee == BufferObject {
    /// The newest VMA of that view that somebody has a handle of, with another handle; nil if there is none.
    /// - Locking: nothing may be held.
    func vmaWithHandle(in vm: VMPointer, _ layout: ViewLayout) -> VMAPointer? {
        var next = vma(after: nil)
        while let candidate = next {
            if candidate.pointee.vm == vm, candidate.shows(layout), candidate.pointee.count.tryRetainHandle() {
                // The handles have a reference of their own.
                candidate.drop()
                return candidate
            }
            next = vma(after: candidate)
            candidate.drop()
        }
        return nil
    }
}

extension UnsafeMutablePointer where Pointee == VMA {
    fileprivate func shows(_ layout: ViewLayout) -> Bool {
        guard let view = pointee.view else { return layout.kind == .normal }
        return view.pointee == layout
    }
}
