import Testing

@testable import UnbindCore

@Suite struct BatchPartsTests {
    @Test("the embedded parts lie where their offsets say")
    func layout() {
        let join = UnsafeMutablePointer<JoinFence>.allocate(capacity: 1)
        defer { join.deallocate() }
        withUnsafePointer(to: &join.pointee.relay) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(join) + JoinFence.relayOffset)
        }
        let signal = UnsafeMutablePointer<FenceSignal>.allocate(capacity: 1)
        defer { signal.deallocate() }
        withUnsafePointer(to: &signal.pointee.relay) {
            #expect(UnsafeRawPointer($0) == UnsafeRawPointer(signal) + FenceSignal.relayOffset)
        }
        #expect(MemoryLayout<OverlaySegment>.offset(of: \.node) == 0)
    }

    @Test("a list of operations comes to what applying them one by one does", arguments: 0..<40)
    func overlay(seed: Int) throws {
        let rig = try BatchRig()
        defer { rig.close() }
        var random = RandomSource(seed: UInt64(seed) &* 131 &+ 17)
        var overlay = BatchOverlay(of: rig.vm)
        let pages = 64
        // nil: not touched; .some(nil): unmapped; else the buffer's page and its number.
        var model = [Int??](repeating: nil, count: pages)
        var owners = [Int](repeating: 0, count: pages)
        for _ in 0..<60 {
            let first = random.next(below: pages)
            let count = random.next(below: min(12, pages - first)) + 1
            let which = random.next(below: rig.bos.count)
            let start = UInt64(first) * 4096
            switch random.next(below: 6) {
            case 0:
                try overlay.unmap(start: start, size: UInt64(count) * 4096)
                for page in first..<(first + count) { model[page] = .some(nil) }
            case 1:
                try overlay.unmapAll(of: rig.bos[which])
                for page in 0..<pages {
                    if case .some(.some) = model[page], owners[page] == which { model[page] = .some(nil) }
                }
            default:
                let offset = random.next(below: 32)
                let replaces = random.next(below: 4) != 0
                let content = MappingContent(bo: rig.bos[which], offset: UInt64(offset) * 4096)
                let isTaken = (first..<(first + count)).contains { page in
                    if case .some(.some) = model[page] { return true }
                    return false
                }
                do throws(Status) {
                    try overlay.map(content, start: start, size: UInt64(count) * 4096, replaces: replaces)
                    #expect(replaces || !isTaken)
                } catch {
                    #expect(error == .exists && !replaces && isTaken)
                    continue
                }
                for page in first..<(first + count) {
                    model[page] = .some(.some(offset + page - first))
                    owners[page] = which
                }
            }
        }
        var found = [Int??](repeating: nil, count: pages)
        var last: UInt64 = 0
        try overlay.forEachRange { (start, end, content) throws(Status) in
            #expect(start >= last && end > start)
            last = end
            for page in Int(start / 4096)..<Int(end / 4096) {
                if let content {
                    let part = content.advanced(by: UInt64(page) * 4096 - start)
                    found[page] = .some(.some(Int(part.offset / 4096)))
                    #expect(part.bo == rig.bos[owners[page]])
                } else {
                    found[page] = .some(nil)
                }
            }
        }
        #expect(found == model)
    }

    @Test("neighbours that continue each other come as one range")
    func coalesces() throws {
        let rig = try BatchRig()
        defer { rig.close() }
        var overlay = BatchOverlay(of: rig.vm)
        for page in [3, 0, 1, 2] as [UInt64] {
            try overlay.map(
                MappingContent(bo: rig.bos[0], offset: page * 4096), start: page * 4096, size: 4096, replaces: true)
        }
        try overlay.map(
            MappingContent(bo: rig.bos[0], offset: 0x4000, flags: MappingFlags(flags: 1)), start: 0x4000, size: 4096,
            replaces: true)
        var ranges: [UInt64] = []
        try overlay.forEachRange { (start, end, _) throws(Status) in ranges += [start, end] }
        #expect(ranges == [0, 0x4000, 0x4000, 0x5000])
    }

    @Test("a join signals with the last of what it awaits, and carries errors only if it is made so")
    func join() throws {
        let rig = try BatchRig()
        defer { rig.close() }
        for ignores in [false, true] {
            let members = [try rig.device.makeCallerFence(), try rig.device.makeCallerFence()]
            let join = try JoinFencePointer.make(device: rig.device, ignoresErrors: ignores)
            join.begin()
            for member in members { join.await(try rig.device.makeAwait(on: member, function: joinAwaitFired)) }
            join.commit()
            let fence = join.fence
            members[0].signal(error: -5, at: 1)
            #expect(!fence.isSignalled)
            members[1].signal(at: 2)
            #expect(fence.isSignalled && fence.error == (ignores ? 0 : -5))
            for member in members { member.drop() }
            fence.drop()
        }
    }
}
