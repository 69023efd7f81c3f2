// PageLists whose memory is a backend's: made, told of, and given back by its functions.
//
// - Signalling: giving back may run in a signalling section: the backend does not wait there.

import CUnbind

extension UnsafeMutablePointer where Pointee == PageList {
    /// Memory that the backend makes.
    /// - Failure: unsupported, lost, noMemory, and whatever the backend says.
    static func makeBackend(device: DevicePointer, size: UInt64, isLocal: Bool) throws(Status) -> PageListPointer {
        let backend = device.pointee.backend!
        try backend.checkNotLost()
        if isLocal, !backend.has(Capability.localMemory) { throw Status.unsupported }
        guard isLocal ? backend.chargeLocalMemory(size) : device.chargeSystemMemory(size) else {
            throw Status.noMemory
        }
        do throws(Status) {
            return try makeCharged(device: device, size: size, isLocal: isLocal)
        } catch {
            device.unchargeBackendMemory(size, isLocal: isLocal)
            throw error
        }
    }

    private static func makeCharged(
        device: DevicePointer, size: UInt64, isLocal: Bool
    ) throws(Status) -> PageListPointer {
        let backend = device.pointee.backend!
        guard let object = device.cache(.pageList).take() else { throw Status.noMemory }
        var (buffer, memory): (UnsafeMutableRawPointer?, UnsafeMutableRawPointer?) = (nil, nil)
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        let region = isLocal ? UNBIND_REGION_LOCAL : UNBIND_REGION_SYSTEM
        let status = backend.pointee.ops.bo_create(backend.pointee.context, size, region, &buffer, &memory)
        guard status == 0, let memory else {
            if status == 0 { backend.pointee.ops.bo_destroy(backend.pointee.context, buffer) }
            device.cache(.pageList).give(object)
            throw status < 0 ? Status(raw: status) : Status.unsupported
        }
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .backend, device: device, size: size, memory: memory, physical: 0, mapping: buffer,
                isBackendLocal: isLocal))
        return list
    }

    /// The caller's memory; `release` is called when nothing can reach it any more.
    /// - Failure: unsupported, lost, noMemory, and whatever the backend says.
    static func makeBackendWrapped(
        device: DevicePointer, memory: UnsafeMutableRawPointer, size: UInt64, release: ReleaseFunction?,
        userData: UnsafeMutableRawPointer?
    ) throws(Status) -> PageListPointer {
        let backend = device.pointee.backend!
        try backend.checkNotLost()
        guard backend.has(Capability.userMemory), let wrap = backend.pointee.ops.bo_wrap else {
            throw Status.unsupported
        }
        guard let object = device.cache(.pageList).take() else { throw Status.noMemory }
        var buffer: UnsafeMutableRawPointer?
        LockOrder.assertNoneHeld("a backend was called with a lock held")
        let status = wrap(backend.pointee.context, memory, size, &buffer)
        if status != 0 {
            device.cache(.pageList).give(object)
            throw status < 0 ? Status(raw: status) : Status.unsupported
        }
        let list = object.bindMemory(to: PageList.self, capacity: 1)
        list.initialize(
            to: PageList(
                source: .backendWrapped, device: device, size: size, memory: memory, physical: 0, mapping: buffer,
                releaseFunction: release, releaseData: userData))
        return list
    }

    /// What the backend calls the buffer that these pages are of.
    var backendBuffer: UnsafeMutableRawPointer? { pointee.parent?.pointee.mapping ?? pointee.mapping }

    /// Pieces of a binding of these pages.
    var pieceCount: Int { pointee.segments == nil ? 1 : pointee.segmentCount }

    /// Nothing refers to them any more.
    func dropBackendMemory() {
        let device = pointee.device
        let backend = device.pointee.backend!
        let buffer = pointee.mapping
        SignallingSection.suspended { backend.pointee.ops.bo_destroy(backend.pointee.context, buffer) }
        if pointee.source == .backend { device.unchargeBackendMemory(pointee.size, isLocal: pointee.isLocal) }
    }
}

extension UnsafeMutablePointer where Pointee == Device {
    fileprivate func unchargeBackendMemory(_ bytes: UInt64, isLocal: Bool) {
        if isLocal { pointee.backend!.unchargeLocalMemory(bytes) } else { unchargeSystemMemory(bytes) }
    }
}
