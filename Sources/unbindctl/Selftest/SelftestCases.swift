// What the selftest proves. Each test would fail on a driver or a GPU that breaks the promise that its name makes.

import Glibc
import Unbind

extension SelftestRun {
    static var tests: [SelftestCase] { mappings + unbinding + moving }

    // MARK: Mappings

    private static var mappings: [SelftestCase] { [
        SelftestCase("a store through a mapping reaches the buffer") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let queue = try Queue(in: run.space)
            try run.finish(run.store(0x1111, at: bound.address + 8, on: queue, using: bound.vma), "the store")
            try run.expect(buffer, 8, holds: 0x1111, "after the store")
            try run.expect(buffer, holds: 0, "beside the store")
        },
        SelftestCase("every page of a mapping shows its own page of the buffer") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let queue = try Queue(in: run.space)
            let offsets = Array(stride(from: UInt64(0), to: bufferSize, by: 4096))
            let stores = offsets.map { Queue.Command.store(address: bound.address + $0, value: 0x1000 + $0) }
            try run.finish(queue.submit(stores, using: [(vma: bound.vma, use: .write)]), "the stores")
            for offset in offsets { try run.expect(buffer, offset, holds: 0x1000 + offset, "after the stores") }
        },
        SelftestCase("a load through a mapping reads the buffer") { run in
            let buffer = try run.makeBuffer()
            buffer.contents.storeBytes(of: 0x2222, toByteOffset: 16, as: UInt64.self)
            let bound = try run.bind(buffer)
            let queue = try Queue(in: run.space)
            let word = UnsafeMutablePointer<UInt64>.allocate(capacity: 1)
            defer { word.deallocate() }
            word.initialize(to: 0)
            let loaded = try queue.submit(
                [.load(address: bound.address + 16, into: word)], using: [(vma: bound.vma, use: .read)])
            try run.finish(loaded, "the load")
            try run.expect(word.pointee == 0x2222, "the load gave \(hex(word.pointee)), not 0x2222")
        },
        SelftestCase("fills and copies reach buffers through their mappings") { run in
            let (source, target) = (try run.makeBuffer(), try run.makeBuffer())
            let (from, to) = (try run.bind(source), try run.bind(target))
            let queue = try Queue(in: run.space)
            let fence = try queue.submit(
                [
                    .fill(address: from.address, size: bufferSize, pattern: 0x3333_3333),
                    .copy(to: to.address, from: from.address, size: bufferSize),
                ], using: [(vma: from.vma, use: .write), (vma: to.vma, use: .write)])
            try run.finish(fence, "the fill and the copy")
            for offset in stride(from: UInt64(0), to: bufferSize, by: 8) {
                try run.expect(target, offset, holds: 0x3333_3333_3333_3333, "after the copy")
            }
        },
        SelftestCase("jobs on two queues run in the order that their fences ask for") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let (first, second) = (try Queue(in: run.space), try Queue(in: run.space))
            let gate = try Fence(of: run.device)
            let early = try run.store(1, at: bound.address, on: first, using: bound.vma, after: [gate])
            let late = try run.store(2, at: bound.address, on: second, using: bound.vma, after: [early])
            try run.expectPending(late, "a job behind a job that waits")
            try run.expect(buffer, holds: 0, "before the gate opened")
            try gate.signal()
            try run.finish(late, "the second job")
            try run.expect(buffer, holds: 2, "after both jobs")
        },
        SelftestCase("bad requests are refused and change nothing") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let other = try VMA(run.makeBuffer(), in: run.space, VMA.Options(.fixed(bound.address)))
            try run.expect(.noSpace, "a range that is taken") { () throws(UnbindError) in try other.bind() }
            try run.expect(.invalidArgument, "an address inside a page") { () throws(UnbindError) in
                _ = try VMA(buffer, in: run.space, VMA.Options(.fixed(0x123)))
            }
            try run.expect(.outsideAddressSpace, "an address above all") { () throws(UnbindError) in
                _ = try VMA(buffer, in: run.space, VMA.Options(.fixed(1 << 60)))
            }
            try run.expect(.invalidArgument, "a job on what is not bound") { () throws(UnbindError) in
                let queue = try Queue(in: run.space)
                _ = try queue.submit([], using: [(vma: other, use: .write)])
            }
            let queue = try Queue(in: run.space)
            try run.finish(run.store(5, at: bound.address, on: queue, using: bound.vma), "a store afterwards")
            try run.expect(buffer, holds: 5, "after the refusals")
        },
    ] }

    // MARK: Unbinding

    private static var unbinding: [SelftestCase] { [
        SelftestCase("a range that is bound anew shows the new buffer and leaves the old one alone") { run in
            let (old, new) = (try run.makeBuffer(), try run.makeBuffer())
            let bound = try run.bind(old)
            let queue = try Queue(in: run.space)
            try run.finish(run.store(1, at: bound.address, on: queue, using: bound.vma), "the first store")
            try run.finish(bound.vma.unbindAsync(), "the unbind")
            let rebound = try run.bind(new, at: bound.address)
            try run.finish(run.store(2, at: bound.address, on: queue, using: rebound), "the second store")
            try run.expect(old, holds: 1, "the old buffer")
            try run.expect(new, holds: 2, "the new buffer")
        },
        SelftestCase("after its unbind has finished a buffer changes no more") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let queue = try Queue(in: run.space)
            // So that the GPU remembers the translation.
            try run.finish(run.store(1, at: bound.address, on: queue, using: bound.vma), "the first store")
            try run.finish(bound.vma.unbindAsync(), "the unbind")
            try run.end(run.store(2, at: bound.address, on: queue, using: nil), "a store to where nothing is")
            try run.expect(buffer, holds: 1, "after a store to where it was")
        },
        SelftestCase("an asynchronous unbind behind waiting work returns at once, and finishes after it") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let queue = try Queue(in: run.space)
            let gate = try Fence(of: run.device)
            let job = try run.store(1, at: bound.address, on: queue, using: bound.vma, after: [gate])
            let unbound = try bound.vma.unbindAsync()
            try run.expectPending(unbound, "the unbind of what a waiting job uses")
            try gate.signal()
            try run.finish(job, "the job")
            try run.finish(unbound, "the unbind")
            try run.expect(buffer, holds: 1, "after the job")
        },
        SelftestCase("a bind waits for the pending unbind that it overlaps, and another does not") { run in
            let (old, new, other) = (try run.makeBuffer(), try run.makeBuffer(), try run.makeBuffer())
            let bound = try run.bind(old)
            let elsewhere = try run.bind(other)
            let queue = try Queue(in: run.space)
            let gate = try Fence(of: run.device)
            let job = try run.store(1, at: bound.address, on: queue, using: bound.vma, after: [gate])
            let unbound = try bound.vma.unbindAsync()
            let vma = try VMA(new, in: run.space, VMA.Options(.fixed(bound.address)))
            let rebound = try vma.bindAsync()
            try run.finish(elsewhere.vma.unbindAsync(), "an unbind elsewhere")
            let again = try run.bind(other, at: elsewhere.address)
            try run.expectPending(rebound, "a bind over a pending unbind")
            let second = try Queue(in: run.space)
            try run.finish(run.store(3, at: elsewhere.address, on: second, using: again), "a store elsewhere")
            try gate.signal()
            try run.finish(job, "the job")
            try run.finish(unbound, "the unbind")
            try run.finish(rebound, "the bind")
            try run.finish(run.store(2, at: bound.address, on: queue, using: vma), "a store to the new buffer")
            try run.expect(old, holds: 1, "the old buffer")
            try run.expect(new, holds: 2, "the new buffer")
            try run.expect(other, holds: 3, "the buffer elsewhere")
        },
        SelftestCase("an unbind waits for the jobs of every queue that uses the range") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let gates = [try Fence(of: run.device), try Fence(of: run.device)]
            var jobs: [Fence] = []
            for (index, gate) in gates.enumerated() {
                let queue = try Queue(in: run.space)
                let offset = UInt64(index) * 8
                jobs.append(
                    try run.store(7, at: bound.address + offset, on: queue, using: bound.vma, after: [gate]))
            }
            let unbound = try bound.vma.unbindAsync()
            try gates[1].signal()
            try run.finish(jobs[1], "the job on the second queue")
            try run.expectPending(unbound, "the unbind while the first queue works")
            try gates[0].signal()
            try run.finish(unbound, "the unbind")
            try run.finish(jobs[0], "the job on the first queue")
            try run.expect(buffer, 0, holds: 7, "of the first queue")
            try run.expect(buffer, 8, holds: 7, "of the second queue")
        },
        SelftestCase("an unbind waits for a batch that runs until the CPU says so") { run in
            let queue = try run.queueForBatches()
            let (buffer, code) = (try run.makeBuffer(), try run.makeBuffer())
            let (bound, batch) = (try run.bind(buffer), try run.bind(code))
            let gate: UInt64 = 4096
            var commands = SelftestBatch()
            commands.store(1, at: bound.address)
            commands.wait(until: 1, at: batch.address + gate)
            commands.store(2, at: bound.address + 8)
            commands.end()
            commands.write(to: code)
            func open() { code.contents.storeBytes(of: 1, toByteOffset: Int(gate), as: UInt64.self) }
            defer { open() }
            let job = try queue.submit(
                [.batch(address: batch.address)], using: [(vma: bound.vma, use: .write), (vma: batch.vma, use: .read)])
            try run.wait("the batch did not begin") { run.word(buffer) == 1 }
            // Nothing is left to wait for but the GPU: a driver that can wait for it itself is told to.
            let unbound = try bound.vma.unbindAsync()
            try run.expectPending(unbound, "the unbind of what a running batch uses")
            try run.expect(buffer, 8, holds: 0, "while the batch waits")
            open()
            try run.finish(job, "the batch")
            try run.finish(unbound, "the unbind")
            try run.expect(buffer, 8, holds: 2, "after the batch")
        },
        SelftestCase("256 neighbours are unbound at once and their range is bound as one") { run in
            let count: UInt64 = 256
            let first = try run.bind(run.makeBuffer(size: bufferSize * count))
            try run.finish(first.vma.unbindAsync(), "the unbind that makes room")
            let small = try (0..<count).map { try run.bind(run.makeBuffer(), at: first.address + $0 * bufferSize) }
            let queue = try Queue(in: run.space)
            let stores = (0..<count).map {
                Queue.Command.store(address: first.address + $0 * bufferSize, value: $0 + 1)
            }
            let job = try queue.submit(stores, using: small.map { (vma: $0, use: .write) })
            let unbound = try small.map { try $0.unbindAsync() }
            let large = try VMA(
                run.makeBuffer(size: bufferSize * count), in: run.space, VMA.Options(.fixed(first.address)))
            try run.finish(large.bindAsync(), "the bind over all of them")
            try run.finish(job, "the stores")
            for fence in unbound { try run.finish(fence, "an unbind") }
            for (index, vma) in small.enumerated() {
                try run.expect(vma.buffer, holds: UInt64(index) + 1, "neighbour \(index)")
            }
            let last = first.address + (count - 1) * bufferSize
            try run.finish(run.store(9, at: last, on: queue, using: large), "a store to the large buffer")
            try run.expect(large.buffer, (count - 1) * bufferSize, holds: 9, "the large buffer")
            try run.expect(small[Int(count) - 1].buffer, holds: count, "the last neighbour")
        },
    ] }

    // MARK: Moving, and the end

    private static var moving: [SelftestCase] { [
        SelftestCase("a buffer that is moved keeps its bytes, and shows them where it is bound again") { run in
            // Local memory may be given out in nothing smaller.
            let buffer = try run.makeBuffer(size: 2 << 20)
            let words = buffer.size / 8
            for index in 0..<words {
                buffer.contents.storeBytes(of: index &* 0x9e37_79b9, toByteOffset: Int(index) * 8, as: UInt64.self)
            }
            let queue = try Queue(in: run.space)
            for region in [BufferObject.Region.local, .system] {
                let move = try buffer.migrate(to: region)
                // Waits for the copy.
                let bound = try run.bind(buffer)
                try run.finish(move, "the move")
                try run.expect(buffer.region == region, "the buffer is not where it was moved to")
                for index in stride(from: 0, to: words, by: 61) {
                    try run.expect(buffer, index * 8, holds: index &* 0x9e37_79b9, "after the move")
                }
                try run.finish(run.store(4, at: bound.address, on: queue, using: bound.vma), "a store after the move")
                try run.expect(buffer, holds: 4, "after the move")
                try run.finish(run.store(0, at: bound.address, on: queue, using: bound.vma), "a store that undoes it")
            }
        },
        SelftestCase("a suspend takes a binding out of the page tables, and a resume brings it back") { run in
            let buffer = try run.makeBuffer()
            let bound = try run.bind(buffer)
            let queue = try Queue(in: run.space)
            try run.finish(run.store(1, at: bound.address, on: queue, using: bound.vma), "a store before the suspend")
            try run.space.suspend()
            do {
                _ = try run.store(2, at: bound.address, on: queue, using: bound.vma)
                try run.expect(false, "a job was accepted while the address space was suspended")
            } catch let error as UnbindError where error == .notYet {}
            try run.space.resume()
            try run.finish(run.store(3, at: bound.address + 8, on: queue, using: bound.vma), "a store after the resume")
            try run.expect(buffer, holds: 1, "from before the suspend")
            try run.expect(buffer, 8, holds: 3, "after the resume")
        },
        SelftestCase("closing with an unbind pending finishes it and leaks nothing") { run in
            let fence: Fence
            let gate = try Fence(of: run.device)
            do {
                let bound = try run.bind(run.makeBuffer())
                let queue = try Queue(in: run.space)
                try run.store(1, at: bound.address, on: queue, using: bound.vma, after: [gate])
                fence = try bound.vma.unbindAsync()
            }
            try run.expectPending(fence, "the unbind")
            let report = try run.device.close()
            try run.expect(fence.isSignaled, "the unbind's fence has not signalled when the device is closed")
            try run.expect(report.buffers == 0 && report.vmas == 0 && report.queues == 0, "left behind: \(report)")
        },
    ] }
}
