// The bound VMAs of an address space in order of use: eviction takes those that were not used for longest first.
//
// A VMA enters with its binding, moves to the recent end with each piece of work that is attached to it, and leaves
// with its unbind.
//
// - Locking: the VM's lock is held.

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// The VMA has got a range.
    func enterByRecency(_ vma: VMAPointer) {
        vma.pointee.moreRecent = nil
        vma.pointee.lessRecent = pointee.mostRecent
        if let last = pointee.mostRecent { last.pointee.moreRecent = vma } else { pointee.leastRecent = vma }
        pointee.mostRecent = vma
    }

    /// The VMA is about to lose its range.
    func leaveByRecency(_ vma: VMAPointer) {
        let (before, after) = (vma.pointee.lessRecent, vma.pointee.moreRecent)
        if let before { before.pointee.moreRecent = after } else { pointee.leastRecent = after }
        if let after { after.pointee.lessRecent = before } else { pointee.mostRecent = before }
        vma.pointee.lessRecent = nil
        vma.pointee.moreRecent = nil
    }

    /// Work has been attached to the VMA.
    func noteUse(of vma: VMAPointer) {
        if pointee.mostRecent == vma { return }
        leaveByRecency(vma)
        enterByRecency(vma)
    }
}
