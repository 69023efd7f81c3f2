// Looking at the page tables from outside: which buffer a mapped page belongs to.

struct PageInfo {
    let address: UInt64
    let size: UInt64
    let isWritable: Bool
    let isLocal: Bool
    let isNull: Bool
    /// 0 if no bound VMA put it there.
    let boID: UInt64
    let boOffset: UInt64
}

extension UnsafeMutablePointer where Pointee == AddressSpace {
    /// The first mapped page that ends after the address.
    /// - Failure: closed, if there is none or the VM is closed; unsupported if a backend has the page tables.
    func findPage(endingAfter address: UInt64) throws(Status) -> PageInfo {
        if pointee.backendSpace != nil { throw Status.unsupported }
        if isClosed { throw Status.closed }
        // Under the lock, so that page and owner belong together.
        pointee.lock.acquire()
        defer { pointee.lock.release() }
        guard let page = pointee.space.findPage(endingAfter: address) else { throw Status.closed }
        let entry = page.leaf.entry
        var boID: UInt64 = 0
        var boOffset: UInt64 = 0
        if !entry.isNull, let node = pointee.ranges.node(containing: page.address),
            VMAPointer(containing: node).lockedState == .bound,
            let resource = VMAPointer(containing: node).pointee.resource
        {
            let binding = resource.pointee.binding
            let offset = page.address &- binding.start
            // An old entry may still be there while the new owner waits for it to be cleared.
            if page.address >= binding.start, let place = resource.pointee.pages.bufferOffset(of: offset),
                entry.isLocal == binding.isLocal, entry.address == resource.pointee.pages.physical(of: place)
            {
                boID = resource.pointee.boID
                boOffset = place
            }
        }
        return PageInfo(
            address: page.address, size: page.leaf.size, isWritable: entry.isWritable, isLocal: entry.isLocal,
            isNull: entry.isNull, boID: boID, boOffset: boOffset)
    }
}
