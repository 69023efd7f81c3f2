// ExportedFence: lets a sync object signal with a fence of the library's: a callback on the fence, which signals it.
//
// Until then the kernel has no fence there: who waits for it does so with WAIT_FOR_SUBMIT, as it is said in the header.
// An error that the fence carries does not get across.

import CLibDRM
import CSystem

private struct ExportedFence {
    /// First: a pointer to it is a pointer to the ExportedFence.
    var callback: FenceCallback
    let node: DRMNode
    /// A handle of its own.
    let syncobj: Syncobj
    let point: UInt64
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// A new sync object that signals with the fence: a descriptor, which is the caller's to close.
    /// - Failure: unsupported, closed, noMemory, EMFILE.
    func exportSyncobj() throws(Status) -> Int32 {
        let node = try device.kernelLink().node
        let syncobj = try node.makeSyncobj()
        do throws(Status) {
            let descriptor = try node.export(syncobj)
            do throws(Status) {
                try signalLater(syncobj, point: 0, node)
                return descriptor
            } catch {
                _ = clibdrm_close(descriptor)
                throw error
            }
        } catch {
            node.destroySyncobj(syncobj)
            throw error
        }
    }

    /// A sync object of the caller's signals a point with the fence, or (0) as a binary one.
    /// - Failure: invalid: no sync object; unsupported, closed, noMemory.
    func signal(syncobj descriptor: Int32, point: UInt64) throws(Status) {
        let node = try device.kernelLink().node
        let syncobj = try node.importSyncobj(descriptor)
        do throws(Status) {
            try signalLater(syncobj, point: point, node)
        } catch {
            node.destroySyncobj(syncobj)
            throw error
        }
    }

    /// A sync_file that has signalled, of a fence that has.
    /// - Failure: again: it has not; unsupported, closed, noMemory, EMFILE.
    func exportSyncFile() throws(Status) -> Int32 {
        let node = try device.kernelLink().node
        if !isSignalled { throw Status.again }
        let syncobj = try node.makeSyncobj(isSignalled: true)
        defer { node.destroySyncobj(syncobj) }
        return try node.exportSyncFile(syncobj)
    }

    /// Takes the sync object, unless it fails.
    private func signalLater(_ syncobj: Syncobj, point: UInt64, _ node: DRMNode) throws(Status) {
        if isSignalled {
            try node.signal(syncobj, point: point)
            node.destroySyncobj(syncobj)
            return
        }
        let memory = device.pointee.memory
        guard let exported = memory.allocateApart(of: ExportedFence.self) else { throw Status.noMemory }
        exported.initialize(
            to: ExportedFence(
                callback: FenceCallback(function: signalExported), node: node, syncobj: syncobj, point: point))
        retain()
        let object = UnsafeMutableRawPointer(exported)
        if !add(object.assumingMemoryBound(to: FenceCallback.self)) {
            signalExported(object, UnsafeMutableRawPointer(self))
        }
    }
}

private func signalExported(_ callback: UnsafeMutableRawPointer, _ fence: UnsafeMutableRawPointer) {
    let exported = callback.assumingMemoryBound(to: ExportedFence.self)
    let fence = fence.assumingMemoryBound(to: Fence.self)
    let (node, syncobj) = (exported.pointee.node, exported.pointee.syncobj)
    // Without memory in the kernel for a moment: whoever waits must not wait for ever.
    for _ in 0..<1000 {
        if (try? node.signal(syncobj, point: exported.pointee.point)) != nil { break }
        csys_nap()
    }
    node.destroySyncobj(syncobj)
    fence.device.pointee.memory.deallocateApart(exported)
    fence.drop()
}
