// Calls that fail, and what they leave.

import CUnbind
import Glibc
import Testing

@Suite(.serialized) struct RefusedCallTests {
    @Test("memory that ends where page-table entries do is bound or refused, and never a broken invariant")
    func wrapAtTheEndOfAddresses() {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        for distance: UInt in [0x1000, 0x2000, 0x20_0000] {
            var buffer: OpaquePointer?
            let memory = UnsafeMutableRawPointer(bitPattern: (UInt(1) << 52) - distance)
            let status = unbind_bo_wrap(gpu.device, memory, UInt64(distance), nil, nil, &buffer)
            #expect(status == 0 || status == -EINVAL)
            if status != 0 { continue }
            let vma = gpu.makeVMA(space, at: nil, buffer: buffer, isKept: false)
            gpu.bind(vma)
            unbind_vma_unref(vma)
            unbind_bo_unref(buffer)
        }
        gpu.close()
    }

    @Test("an alignment that only address 0 has gives that or no space", arguments: [UInt64(1) << 47, 1 << 48, 1 << 63])
    func hugeAlignment(alignment: UInt64) {
        let gpu = DirectedGPU()
        let space = gpu.makeSpace()
        let buffer = gpu.makeBuffer()
        for flags in [0, UInt32(UNBIND_VMA_HIGH)] {
            var options = makeHeaderStruct(unbind_vma_options())
            options.alignment = alignment
            options.flags = flags
            let vmas = (0..<3).map { _ in
                var vma: OpaquePointer?
                #expect(unbind_vma_create(space, buffer, &options, &vma) == 0)
                return vma!
            }
            let statuses = vmas.map { unbind_vma_bind($0, 0) }
            let places = alignment < 1 << 48 ? 2 : 1
            #expect(statuses.filter { $0 == 0 }.count == places && statuses.filter { $0 == -ENOSPC }.count == 3 - places)
            for vma in vmas { unbind_vma_unref(vma) }
        }
        gpu.close()
    }
}
