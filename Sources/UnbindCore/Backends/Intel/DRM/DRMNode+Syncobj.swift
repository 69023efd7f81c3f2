// DRMNode: sync objects, the kernel's box for a fence. A binary one has one fence; a timeline has points that rise, and
// a point that has signalled says the same of all before it. Point 0 means the binary fence.
//
// Deadlines are CLOCK_MONOTONIC in nanoseconds: 0 asks, .max waits for ever.

import CLibDRM

/// A sync object's handle, in the file of the node that made it.
struct Syncobj: BitwiseCopyable, Equatable {
    let handle: UInt32
}

extension DRMNode {
    func makeSyncobj(isSignalled: Bool = false) throws(Status) -> Syncobj {
        var handle: UInt32 = 0
        let flags = isSignalled ? UNBIND_DRM_SYNCOBJ_CREATE_SIGNALED : 0
        _ = try Self.checked(clibdrm_syncobj_create(file, flags, &handle))
        return Syncobj(handle: handle)
    }

    /// Fences in it live on where somebody else holds them.
    func destroySyncobj(_ syncobj: Syncobj) {
        Self.insist { clibdrm_syncobj_destroy(file, syncobj.handle) }
    }

    /// Signals a point that is above all before it; 0: the binary fence.
    func signal(_ syncobj: Syncobj, point: UInt64 = 0) throws(Status) {
        var handle = syncobj.handle
        if point == 0 {
            _ = try Self.checked(clibdrm_syncobj_signal(file, &handle, 1))
        } else {
            var point = point
            _ = try Self.checked(clibdrm_syncobj_timeline_signal(file, &handle, &point, 1))
        }
    }

    /// The greatest point of a timeline that has signalled.
    func signalledPoint(_ syncobj: Syncobj) throws(Status) -> UInt64 {
        var handle = syncobj.handle
        var point: UInt64 = 0
        _ = try Self.checked(clibdrm_syncobj_query(file, &handle, &point, 1, 0))
        return point
    }

    /// Waits until one of the points has signalled. Those that have no fence yet are waited for as well.
    /// - Failure: timedOut
    func waitForAny(
        _ handles: UnsafeMutablePointer<UInt32>, points: UnsafeMutablePointer<UInt64>, count: Int, deadline: Int64
    ) throws(Status) {
        var first: UInt32 = 0
        _ = try Self.checked(
            clibdrm_syncobj_timeline_wait(
                file, handles, points, UInt32(count), deadline, UNBIND_DRM_SYNCOBJ_WAIT_FLAGS_WAIT_FOR_SUBMIT, &first))
    }

    /// The greatest point that has signalled of each of these timelines.
    func signalledPoints(
        _ handles: UnsafeMutablePointer<UInt32>, points: UnsafeMutablePointer<UInt64>, count: Int
    ) throws(Status) {
        _ = try Self.checked(clibdrm_syncobj_query(file, handles, points, UInt32(count), 0))
    }

    /// Puts the fence of one point into another; 0: a binary fence.
    /// - Failure: invalid, if there is none.
    func transfer(from: Syncobj, point fromPoint: UInt64, to: Syncobj, point toPoint: UInt64) throws(Status) {
        _ = try Self.checked(clibdrm_syncobj_transfer(file, to.handle, toPoint, from.handle, fromPoint, 0))
    }

    // MARK: Across the border

    /// A descriptor of the sync object itself, close-on-exec: the caller's to close.
    func export(_ syncobj: Syncobj) throws(Status) -> Int32 {
        var descriptor: Int32 = -1
        _ = try Self.checked(clibdrm_syncobj_to_fd(file, syncobj.handle, &descriptor))
        return descriptor
    }

    /// A handle of the sync object that a descriptor stands for; one's own, to be destroyed.
    func importSyncobj(_ descriptor: Int32) throws(Status) -> Syncobj {
        var handle: UInt32 = 0
        _ = try Self.checked(clibdrm_syncobj_from_fd(file, descriptor, &handle))
        return Syncobj(handle: handle)
    }

    /// The binary fence that is in it now, as a sync_file, close-on-exec: the caller's to close.
    func exportSyncFile(_ syncobj: Syncobj) throws(Status) -> Int32 {
        var descriptor: Int32 = -1
        _ = try Self.checked(clibdrm_syncobj_export_sync_file(file, syncobj.handle, &descriptor))
        return descriptor
    }

    /// Puts a sync_file's fence into it.
    func importSyncFile(_ descriptor: Int32, into syncobj: Syncobj) throws(Status) {
        _ = try Self.checked(clibdrm_syncobj_import_sync_file(file, syncobj.handle, descriptor))
    }
}
