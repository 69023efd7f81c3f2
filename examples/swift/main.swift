// Asynchronous unbind from Swift.
//
// The GPU is kept busy with a job that uses a buffer. The buffer is unbound without waiting, and
// another one is bound over the same range at once; the library makes that bind wait for the
// unbind, so the first job finds its own buffer to the end, and the second job the new one.

import Unbind

func check(_ condition: Bool, _ what: String) {
    guard !condition else { return }
    print("failed: \(what)")
    fatalError(what)
}

func run() throws(UnbindError) {
    // Virtual time: nothing here depends on how fast this machine is.
    let device = try Device(.init(executor: .simulated(seed: 1)))
    do {
        let space = try AddressSpace(of: device)
        let queue = try Queue(in: space)
        let address: UInt64 = 0x10_0000
        let size: UInt64 = 0x1_0000

        let first = try BufferObject(of: device, size: size)
        let firstVMA = try VMA(first, in: space, .init(.fixed(address)))
        try firstVMA.bind()

        // 5 ms of work, and only then the write through the GPU address.
        let job = try queue.submit(
            [.delay(nanoseconds: 5_000_000), .fill(address: address, size: size, pattern: 0x1111_1111)],
            using: [(firstVMA, .write)])

        let before = device.now
        let unbound = try firstVMA.unbindAsync()
        print("unbind: returned after \(device.now - before) ns, done: \(unbound.isSignaled)")

        let second = try BufferObject(of: device, size: size)
        let secondVMA = try VMA(second, in: space, .init(.fixed(address)))
        let bound = try secondVMA.bindAsync()
        print("bind over the same range: accepted, done: \(bound.isSignaled)")

        let secondJob = try queue.submit(
            [.fill(address: address, size: size, pattern: 0x2222_2222)], using: [(secondVMA, .write)])
        try secondJob.wait()

        check(try job.error() == nil, "the first job did not fault")
        check(try secondJob.error() == nil, "the second job did not fault")
        check(try job.timestamp() <= unbound.timestamp(), "the unbind waited for the job")
        check(try unbound.timestamp() <= bound.timestamp(), "the bind waited for the unbind")
        print("first buffer:  \(hex(first))")
        print("second buffer: \(hex(second))")

        do throws(UnbindError) {
            try VMA(first, in: space, .init(.fixed(address))).bind()
        } catch .noSpace {
            print("binding over a bound range: refused")
        }
    }
    check(try device.close().isClean, "nothing leaked")
    print("nothing leaked")
}

/// The first and the last word of a buffer, as the CPU sees them.
func hex(_ buffer: BufferObject) -> String {
    let words = buffer.contents.bindMemory(to: UInt32.self)
    return "\(String(words[0], radix: 16)) ... \(String(words[words.count - 1], radix: 16))"
}

try run()
