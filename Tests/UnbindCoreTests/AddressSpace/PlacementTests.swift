// Where a VMA without a fixed address goes while unbinds are pending.

import CUnbind
import Glibc
import Testing

@Suite struct PlacementTests {
    private let avoiding = UInt32(UNBIND_VMA_AVOID_PENDING)

    @Test("UNBIND_VMA_AVOID_PENDING prefers a range that no pending unbind covers, low and high", arguments: [false, true])
    func prefersQuietRanges(high: Bool) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(size: 0x10000)
        let flags = avoiding | (high ? UInt32(UNBIND_VMA_HIGH) : 0)
        let old = (0..<3).map { _ in gpu.makeVMA(space, at: nil, flags: flags) }
        for vma in old { gpu.bind(vma) }
        let taken = old.map { unbind_vma_address($0) }
        #expect(taken == (high ? [0xF000, 0xE000, 0xD000] : [0, 0x1000, 0x2000]))
        let users = old.map { gpu.makeUser(of: $0) }
        for vma in old { _ = gpu.unbindAsync(vma) }

        let quiet = gpu.makeVMA(space, at: nil, flags: flags)
        #expect(gpu.isSignalled(gpu.bindAsync(quiet)) && gpu.isBound(quiet))
        #expect(unbind_vma_address(quiet) == (high ? 0xC000 : 0x3000))
        #expect(spaceStats(space).awaited == 0)
        for user in users { gpu.signal(user) }
        gpu.close()
    }

    @Test("without it the lowest free range is taken, pending unbind or not")
    func lowestByDefault() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let old = gpu.makeVMA(space, at: nil)
        gpu.bind(old)
        let user = gpu.makeUser(of: old)
        _ = gpu.unbindAsync(old)
        let new = gpu.makeVMA(space, at: nil)
        let bind = gpu.bindAsync(new)
        #expect(unbind_vma_address(new) == 0 && !gpu.isSignalled(bind))
        gpu.signal(user)
        gpu.close()
    }

    @Test("when every free range is covered by a pending unbind, the first one is taken and the bind waits for it")
    func fallsBackToWaiting() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(size: 0x3000)
        let old = (0..<3).map { _ in gpu.makeVMA(space, at: nil) }
        for vma in old { gpu.bind(vma) }
        let users = old.map { gpu.makeUser(of: $0) }
        for vma in old { _ = gpu.unbindAsync(vma) }

        let waiting = gpu.makeVMA(space, at: nil, flags: avoiding)
        let bind = gpu.bindAsync(waiting)
        #expect(!gpu.isSignalled(bind) && unbind_vma_address(waiting) == 0)
        #expect(spaceStats(space).awaited == 1)
        gpu.signal(users[0])
        gpu.run()
        #expect(gpu.isSignalled(bind) && gpu.isBound(waiting), "one unbind is all it had to wait for")
        gpu.signal(users[1])
        gpu.signal(users[2])
        gpu.close()
    }

    @Test("a space without a free range is full, pending unbinds or not")
    func fullIsFull() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace(size: 0x2000)
        for _ in 0..<2 { gpu.bind(gpu.makeVMA(space, at: nil)) }
        #expect(unbind_vma_bind(gpu.makeVMA(space, at: nil, flags: avoiding), 0) == -ENOSPC)
        gpu.close()
    }
}
