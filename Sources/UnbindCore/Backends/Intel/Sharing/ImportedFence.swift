// ImportedFence: a fence that the kernel signals: from a sync object of another process or library, or a sync_file.
//
// Its fence is put into a timeline of its own as point 1, which the SyncobjWaiter waits for. Whether it will ever
// signal is in the hands of strangers, so the device lists it, and cancels it when it is closed.

import CLibDRM

private typealias ImportedFencePointer = UnsafeMutablePointer<ImportedFence>

struct ImportedFence: ~Copyable {
    /// First: a pointer to it is a pointer to the ImportedFence.
    fileprivate var base: CallerFence
    /// At `kernelPointOffset`: point 1 of the timeline.
    let kernelPoint = KernelPoint()
    fileprivate let timeline: KernelTimelinePointer

    static var kernelPointOffset: Int { MemoryLayout<CallerFence>.stride }
}

extension UnsafeMutablePointer where Pointee == Device {
    /// The fence of a sync object's point, or (0) of a binary one. With a reference.
    /// - Failure: again: nobody has put a fence there yet; invalid: no sync object; unsupported; closed; noMemory.
    func importFence(syncobj descriptor: Int32, point: UInt64) throws(Status) -> FencePointer {
        let node = try kernelLink().node
        let syncobj = try node.importSyncobj(descriptor)
        defer { node.destroySyncobj(syncobj) }
        return try importFence(from: syncobj, point: point)
    }

    /// The fence of a sync_file. With a reference.
    /// - Failure: invalid: no sync_file; unsupported; closed; noMemory.
    func importFence(syncFile descriptor: Int32) throws(Status) -> FencePointer {
        let node = try kernelLink().node
        let syncobj = try node.makeSyncobj()
        defer { node.destroySyncobj(syncobj) }
        try node.importSyncFile(descriptor, into: syncobj)
        return try importFence(from: syncobj, point: 0)
    }

    private func importFence(from syncobj: Syncobj, point: UInt64) throws(Status) -> FencePointer {
        let link = try kernelLink()
        let timeline = try KernelTimelinePointer.make(waiter: link.waiter, capacity: 1)
        do throws(Status) {
            try timeline.reserve(growing: false)
            try link.node.transfer(from: syncobj, point: point, to: timeline.pointee.syncobj, point: 1)
        } catch {
            timeline.free()
            // What the kernel says when there is no fence.
            throw error == .invalid ? Status.again : error
        }
        return try watch(timeline)
    }

    /// Takes the timeline, also when it fails.
    private func watch(_ timeline: KernelTimelinePointer) throws(Status) -> FencePointer {
        guard let imported = pointee.memory.allocateApart(of: ImportedFence.self) else {
            timeline.free()
            throw Status.noMemory
        }
        imported.initialize(
            to: ImportedFence(
                base: CallerFence(fence: Fence(home: fenceHome(.imported)), device: self), timeline: timeline))
        let object = UnsafeMutableRawPointer(imported)
        let fence = object.assumingMemoryBound(to: Fence.self)
        fence.kernelPoint!.publish(timeline, 1)
        retain()
        do throws(Status) {
            try ifOpen {
                list(object.assumingMemoryBound(to: CallerFence.self))
                // What the kernel holds.
                fence.retain()
                workBegan()
            }
        } catch {
            fence.drop()
            throw error
        }
        RaceWindow.importIsListed.pass(self)
        timeline.watch(PointCompletion(context: object, function: importedFenceSignalled))
        // A device that has been closed meanwhile has found nothing to take back.
        if fence.isSignalled { fence.stopWatching() }
        return fence
    }
}

extension UnsafeMutablePointer where Pointee == Fence {
    /// Of an imported fence that the closing device has signalled: the kernel is not listened to any more.
    func stopWatching() {
        let imported = UnsafeMutableRawPointer(self).assumingMemoryBound(to: ImportedFence.self)
        // If it cannot be taken back it is being told: then that drops what it holds itself.
        if imported.pointee.timeline.unwatch() { imported.dropWatch() }
    }
}

extension UnsafeMutablePointer where Pointee == ImportedFence {
    fileprivate var fence: FencePointer { UnsafeMutableRawPointer(self).assumingMemoryBound(to: Fence.self) }

    /// The device stays until the count of its work says so, and takes the thread that tells with it, which so must not
    /// be the one to drop the last reference.
    fileprivate func dropWatch() {
        let device = fence.device
        fence.drop()
        device.workEnded()
        RaceWindow.watchIsDropped.pass(device)
    }
}

private func importedFenceSignalled(_ object: UnsafeMutableRawPointer, _ error: Int32) {
    let imported = object.assumingMemoryBound(to: ImportedFence.self)
    imported.fence.signal(error: error, at: imported.fence.device.now)
    imported.dropWatch()
}

func releaseImportedFence(_ memory: UnsafeMutableRawPointer) {
    let imported = memory.assumingMemoryBound(to: ImportedFence.self)
    let object = memory.assumingMemoryBound(to: CallerFence.self)
    let device = object.pointee.device
    device.pointee.lock.acquire()
    if object.pointee.isListed { device.unlink(object) }
    device.pointee.lock.release()
    memory.assumingMemoryBound(to: Fence.self).kernelPoint!.clear()
    imported.pointee.timeline.free()
    imported.deinitialize(count: 1)
    device.pointee.memory.deallocateApart(imported)
    device.drop()
}
