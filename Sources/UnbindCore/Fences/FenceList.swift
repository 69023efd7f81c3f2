// FenceList: fences with a reference each, gathered on the way to something. Local to one call.

struct FenceList: ~Copyable {
    private let memory: UnsafeMutablePointer<Memory>
    private(set) var fences: UnsafeMutablePointer<FencePointer>
    private var capacity: Int
    private(set) var count = 0

    /// - Failure: noMemory.
    init(memory: UnsafeMutablePointer<Memory>, capacity: Int) throws(Status) {
        guard let fences = memory.allocateArray(of: FencePointer.self, count: capacity) else { throw Status.noMemory }
        self.memory = memory
        self.fences = fences
        self.capacity = capacity
    }

    /// Drops all references.
    deinit {
        for index in 0..<count { fences[index].drop() }
        memory.deallocateArray(fences, count: capacity)
    }

    func hasRoom(for more: Int) -> Bool { more <= capacity - count }

    /// There must be room.
    mutating func append(retaining fence: FencePointer) {
        invariant(count < capacity, "a list of fences was given more than it has room for")
        fence.retain()
        (fences + count).initialize(to: fence)
        count += 1
    }

    /// Makes room for so many more.
    /// - Failure: noMemory; nothing changes.
    mutating func reserve(_ more: Int) throws(Status) {
        if count + more <= capacity { return }
        let capacity = max(count + more, 2 * self.capacity)
        guard let fences = memory.allocateArray(of: FencePointer.self, count: capacity) else { throw Status.noMemory }
        fences.moveInitialize(from: self.fences, count: count)
        memory.deallocateArray(self.fences, count: self.capacity)
        self.fences = fences
        self.capacity = capacity
    }

    /// So many more, with a reference each, were written behind the last one.
    mutating func appended(_ more: Int) { count += more }

    /// The first `count` stay; the references of the others are the caller's.
    mutating func shorten(to count: Int) { self.count = count }
}
