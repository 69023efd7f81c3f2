// DemoWorkload: a made-up program that keeps a GPU busy and changes its address space all the time.
//
// It binds a buffer every 100 us and submits a GPU job every 80 us; a job uses the buffers bound since
// the last one and up to two older ones. A buffer is unbound at the end of its lifetime,
// though jobs that use it may still run. An address is given out again to the next buffer of
// its size, once the reuse time has gone by. Sizes, lifetimes, reuse times and job lengths come from
// the distributions; the two periods are ours, chosen so that the GPU is busy four fifths of the
// time, as it was in the captured training run.

/// What the program does, and when; the same for every policy.
struct DemoWorkload {
    struct Buffer {
        let address: UInt64
        let size: UInt64
        /// Its bytes are written by the GPU and checked.
        let isChecked: Bool
    }

    enum Action {
        case bind(Int)
        case unbind(Int)
        case submit(buffers: [Int], length: UInt64)
    }

    private(set) var buffers: [Buffer] = []
    private(set) var steps: [(time: UInt64, action: Action)] = []

    static let bindPeriod: UInt64 = 100_000
    static let submitPeriod: UInt64 = 80_000
    /// Every so many buffers one of up to `checkedSize` bytes is checked.
    static let checkedEvery = 3
    static let checkedSize: UInt64 = 262_144

    init(bufferCount: Int, seed: UInt64) {
        var random = DemoRandom(seed: seed)
        var addresses = AddressPool()
        var live: [(index: Int, end: UInt64)] = []
        var fresh: [Int] = []
        var nextBind: UInt64 = 0
        var nextSubmit = DemoWorkload.submitPeriod / 2
        while buffers.count < bufferCount {
            let nextEnd = live.first?.end ?? .max
            if nextEnd <= min(nextBind, nextSubmit) {
                let (index, time) = live.removeFirst()
                fresh.removeAll { $0 == index }
                steps.append((time, .unbind(index)))
                let buffer = buffers[index]
                addresses.giveBack(
                    buffer.address, size: buffer.size, usableAt: time + Distribution.reuse.interpolated(&random))
            } else if nextBind <= nextSubmit {
                let size = Distribution.size.chosen(&random)
                let index = buffers.count
                let isChecked = index % DemoWorkload.checkedEvery == 0 && size <= DemoWorkload.checkedSize
                buffers.append(
                    Buffer(address: addresses.take(size: size, at: nextBind), size: size, isChecked: isChecked))
                steps.append((nextBind, .bind(index)))
                let end = nextBind + Distribution.lifetime.interpolated(&random)
                live.insert((index, end), at: live.firstIndex { $0.end > end } ?? live.count)
                fresh.append(index)
                nextBind += DemoWorkload.bindPeriod
            } else {
                var used = fresh
                for _ in 0..<2 where !live.isEmpty {
                    let index = live[random.below(live.count)].index
                    if !used.contains(index) { used.append(index) }
                }
                let length = Distribution.jobLength.interpolated(&random)
                steps.append((nextSubmit, .submit(buffers: used, length: length)))
                fresh = []
                nextSubmit += DemoWorkload.submitPeriod
            }
        }
    }
}

/// The program's own way of giving out addresses.
private struct AddressPool {
    private var free: [UInt64: [(address: UInt64, usableAt: UInt64)]] = [:]
    private var end: UInt64 = 0x1_0000_0000

    /// The address of this size that has been free for longest, else a new one.
    mutating func take(size: UInt64, at time: UInt64) -> UInt64 {
        if let index = free[size]?.firstIndex(where: { $0.usableAt <= time }),
            let entry = free[size]?.remove(at: index)
        {
            return entry.address
        }
        // Each buffer begins where a page of its own size could.
        let alignment: UInt64 = size >= 0x20_0000 ? 0x20_0000 : size >= 0x1_0000 ? 0x1_0000 : 0x1000
        let address = (end + alignment - 1) & ~(alignment - 1)
        end = address + size
        return address
    }

    mutating func giveBack(_ address: UInt64, size: UInt64, usableAt: UInt64) {
        free[size, default: []].append((address, usableAt))
    }
}
