// LockContext: locking an array of buffers, all or none, as drm_exec does (drivers/gpu/drm/drm_exec.c).

extension UnsafeMutablePointer where Pointee == LockContext {
    /// Locks every buffer of the list, handles that were checked, and reserves `slots` fences in each, for each time
    /// that it is named. If the context had no lock before, giving way happens here; else it is the caller's affair.
    /// - Failure: deadlock, as BufferObject.lock; interrupted; closed; noMemory. Nothing was locked or reserved then.
    func lock(
        _ handles: UnsafePointer<OpaquePointer?>, count: Int, slots: Int, interruptible: Bool
    ) throws(Status) {
        let mark = pointee.firstLocked
        let (prelocked, contended) = (pointee.prelocked, pointee.contended)
        contended?.retain()
        defer { contended?.drop() }
        do throws(Status) {
            try lock(handles, count: count, slots: slots, after: mark, interruptible: interruptible)
        } catch {
            pointee.prelocked = prelocked
            // Told to give way, it retries with what it was told at last, as after any other lock.
            if error != .deadlock { setContended(contended) }
            throw error
        }
    }

    private func lock(
        _ handles: UnsafePointer<OpaquePointer?>, count: Int, slots: Int, after mark: BufferObjectPointer?,
        interruptible: Bool
    ) throws(Status) {
        func buffer(_ index: Int) -> BufferObjectPointer { BufferObjectPointer(handles[index].unsafelyUnwrapped) }
        while true {
            var done = 0
            do throws(Status) {
                while done < count {
                    try lock(buffer(done), slots: slots, interruptible: interruptible)
                    done += 1
                }
                return
            } catch {
                unlock(after: mark)
                // Those that it had before have kept what was reserved in them here.
                for index in 0..<done where buffer(index).isLocked(by: self) {
                    try buffer(index).unreserveFences(slots, by: self)
                }
                if error != .deadlock || mark != nil { throw error }
            }
            if !(try retry(interruptible: interruptible)) { throw Status.deadlock }
        }
    }

    private func lock(_ bo: BufferObjectPointer, slots: Int, interruptible: Bool) throws(Status) {
        do throws(Status) {
            try bo.lock(by: self, interruptible: interruptible)
        } catch {
            if error != .already { throw error }
        }
        if slots > 0 { try bo.reserveFences(slots, by: self) }
    }
}
