// JobStage: takes the commands of one job after another through the buffer of their queue, as many at a time as fit.
//
// The buffer has the values that LOADs read, a marker that each batch writes last, and the batch. A batch without its
// marker has not come to its end, whatever the kernel's fence says: that signals for batches that were killed, too.
// And it has room for a word that is not the stage's: for a user fence of the kernel's.
//
// One thread at a time: who begins a job, and then whoever is told that a batch has ended.

import CUnbind

struct JobStage {
    let engine: JobEngine
    /// The buffer, as the CPU and as the GPU see it.
    let cpu: UnsafeMutableRawPointer
    let address: UInt64

    private var commands: UnsafePointer<unbind_command>?
    private var count = 0
    /// Commands whose batches have ended, and those of the present batch.
    private var done = 0
    private var taken = 0
    private var marker: UInt64 = 0

    static var bufferBytes: UInt64 { 256 << 10 }
    static var batchOffset: UInt64 { 4096 }
    static var fenceOffset: UInt64 { 3072 }
    private static var markerOffset: UInt64 { 2048 }
    private static var mostLoads: Int { 256 }
    private static var batchWords: Int { Int(bufferBytes - batchOffset) / 4 }
    /// What the marker and the end of a batch need.
    private static var endWords: Int { 16 }

    init(engine: JobEngine, cpu: UnsafeMutableRawPointer, address: UInt64) {
        self.engine = engine
        self.cpu = cpu
        self.address = address
    }

    /// The commands have to stay until the job is over.
    mutating func begin(_ commands: UnsafePointer<unbind_command>?, count: Int) {
        self.commands = commands
        self.count = count
        done = 0
        taken = 0
    }

    /// Writes the next batch. Its bytes, a multiple of 8.
    /// - Failure: unsupported, invalid as BatchEncoder; tooBig: a command that no batch has room for.
    mutating func encode() throws(Status) -> Int {
        marker &+= 1
        taken = 0
        let words = (cpu + Int(Self.batchOffset)).assumingMemoryBound(to: UInt32.self)
        var encoder = BatchEncoder(
            BatchWriter(words, capacity: Self.batchWords), engine: engine, results: address)
        while done + taken < count {
            var longer = encoder
            try longer.add(commands.unsafelyUnwrapped + done + taken, 1)
            if longer.writer.count > Self.batchWords - Self.endWords || longer.loadCount > Self.mostLoads { break }
            encoder = longer
            taken += 1
        }
        if taken == 0, count > 0 { throw Status.tooBig }
        var command = unbind_command()
        command.op = UNBIND_COMMAND_STORE
        command.address = address &+ Self.markerOffset
        command.value = marker
        try encoder.add(&command, 1)
        encoder.finish()
        invariant(encoder.writer.isComplete, "a batch was longer than its room")
        return encoder.writer.count * 4
    }

    /// Those of the present batch.
    var batch: UnsafeBufferPointer<unbind_command> {
        UnsafeBufferPointer(start: commands.map { $0 + done }, count: taken)
    }

    /// Nothing of the job comes after the present batch.
    var isLastBatch: Bool { done + taken == count }

    /// The present batch has written its marker.
    var hasEnded: Bool { (cpu + Int(Self.markerOffset)).load(as: UInt64.self) == marker }

    /// The present batch has ended: fetches what its LOADs have read. True if it was the job's last one.
    mutating func finishBatch() -> Bool {
        var load = 0
        for command in batch where command.op == UNBIND_COMMAND_LOAD {
            command.result.pointee = (cpu + load * 8).load(as: UInt64.self)
            load += 1
        }
        done += taken
        taken = 0
        return done == count
    }
}
