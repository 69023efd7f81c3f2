// FormerOwners: what the former owners of a range left its new one to wait for, on the way to one fence. Local to one
// call.
//
// A range that has been kept for a moment cannot be given back: others may have found no room because of it, and said
// so. So what can fail comes first, under the lock under which the range was found: the list of the fences, and the
// memory for an array of them. The fence itself is made without the lock, as it may drop others. If there is memory it
// is as unbind_fence_merge makes it, without what is in it twice; if not, it is that array.

struct FormerOwners: ~Copyable {
    private let device: DevicePointer
    private let fences: FenceList
    /// For an array of them; nil if there are not several.
    private let spare: UnsafeMutableRawPointer?

    /// - Failure: noMemory.
    /// - Locking: the tracker's is held. The index has a reference to each of the fences, so none is dropped for good.
    init(from start: UInt64, through last: UInt64, in tracker: RangeTrackerPointer) throws(Status) {
        let device = tracker.pointee.device
        let fences = try tracker.unfinished(from: start, through: last)
        spare = try fences.count > 1 ? device.takeFenceArrayMemory(fences.count) : nil
        self.device = device
        self.fences = fences
    }

    /// One fence for all of them, with a reference; nil if nothing is left to wait for.
    /// - Locking: nothing may be held.
    consuming func merged() -> FencePointer? {
        // They may have signalled since the range was found.
        if fences.count == 0 { return nil }
        // As a rule it is a single one, of which nothing is to be made.
        if spare == nil, !isFirstMadeOfOthers { return first }
        do throws(Status) {
            var list = try FenceList(memory: device.pointee.memory, capacity: fences.count)
            for index in 0..<fences.count { list.append(retaining: fences.fences[index]) }
            let fence = try device.merge(&list)
            if let spare { device.giveFenceArrayMemory(spare, fences.count) }
            if fence != device.pointee.stubFence { return fence }
            fence.drop()
            return nil
        } catch {
            guard let spare else { return first }
            return device.makeFenceArray(in: spare, of: fences.fences, count: fences.count, signalsOnAny: false)
        }
    }

    /// With a reference; nil if it has signalled.
    private var first: FencePointer? {
        let fence = fences.fences[0]
        if fence.isSignalled { return nil }
        fence.retain()
        return fence
    }

    private var isFirstMadeOfOthers: Bool {
        switch fences.fences[0].pointee.kind {
        case .plain, .timed, .imported: return false
        case .array, .timelinePoint: return true
        }
    }
}
