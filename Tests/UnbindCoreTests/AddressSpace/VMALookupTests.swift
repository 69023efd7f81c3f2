// The tree by which a buffer finds its VMAs: its place in the structs, and many threads at it. What a lookup finds is
// compared with a model in Tests/ABI/views.c.

import CUnbind
import Testing

@testable import UnbindCore

@Suite struct VMALookupTests {
    @Test("the tree and its links are where the offsets say")
    func layout() {
        let gpu = DirectedGPU()
        let buffer = gpu.makeBuffer()
        let vma = VMAPointer(gpu.makeVMA(gpu.makeSpace(), at: 0x1000, buffer: buffer))
        let bo = BufferObjectPointer(buffer)
        withUnsafePointer(to: &bo.pointee.views) { #expect($0 == UnsafePointer(bo.views)) }
        withUnsafePointer(to: &vma.pointee.links) { #expect($0 == UnsafePointer(vma.links)) }
        #expect(bo.pointee.views.root == vma.links)
        gpu.close()
    }

    @Test("VMAs of one buffer come, are found and go on four threads at once")
    func threads() {
        let gpu = DirectedGPU(executor: UInt32(UNBIND_EXECUTOR_POOL))
        let spaces = [gpu.makeSpace(), gpu.makeSpace()]
        let pages = 6
        let buffer = gpu.makeBuffer(UInt64(pages + 1) * 0x1000)
        let threads = (0..<4).map { number in
            PlainThread {
                var random = SimulationRandom(seed: UInt64(number))
                var own: [OpaquePointer] = []
                for _ in 0..<3_000 {
                    var view = makeHeaderStruct(unbind_view())
                    view.type = UInt32(UNBIND_VIEW_PARTIAL)
                    view.offset = UInt64(random.below(pages)) * 0x1000
                    view.size = 0x1000
                    let space = random.pick(spaces)
                    var vma: OpaquePointer?
                    if unbind_vma_lookup(space, buffer, &view, &vma) == 0 {
                        #expect(unbind_vma_size(vma) == 0x1000)
                    } else {
                        let status = withUnsafePointer(to: &view) { view in
                            var options = makeHeaderStruct(unbind_vma_options())
                            options.view = view
                            return unbind_vma_create(space, buffer, &options, &vma)
                        }
                        #expect(status == 0)
                    }
                    own.append(vma!)
                    while !own.isEmpty, own.count > 4 || random.chance(50) {
                        unbind_vma_unref(own.remove(at: random.below(own.count)))
                    }
                }
                for vma in own { unbind_vma_unref(vma) }
            }
        }
        for thread in threads { thread.join() }
        #expect(BufferObjectPointer(buffer).pointee.views.root == nil)
        gpu.close()
    }
}
