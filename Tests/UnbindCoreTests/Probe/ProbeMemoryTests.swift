import CSystem
import Testing

@testable import UnbindCore

@Suite struct ProbeMemoryTests {
    @Test("a listing that finds no memory says so and keeps none, wherever it fails")
    func listing() {
        var failures = 0
        for countdown in 0... {
            let memory = FailingMemory()
            memory.countdown.pointee = countdown
            let status = cStatus { () throws(Status) in _ = try GPUList.read(memory: memory.pointer) }
            #expect(memory.bytes == 0)
            if status == 0 { break }
            #expect(status == -ENOMEM)
            failures += 1
        }
        #expect(failures >= 1)
    }

    @Test("a list grows as far as its memory does", arguments: [(-1, 20), (0, 0), (1, 8), (2, 16)])
    func growing(countdown: Int, expected: Int) {
        let memory = FailingMemory()
        memory.countdown.pointee = countdown
        var count = 0
        let status = cStatus { () throws(Status) in
            var list = GrowingArray<Int>(memory: memory.pointer)
            for value in 0..<20 {
                try list.append(value * value)
                count = list.count
                for index in 0..<count { #expect(list.elements[index] == index * index) }
            }
        }
        #expect(status == (countdown < 0 ? 0 : -ENOMEM))
        #expect(count == expected)
        #expect(memory.bytes == 0)
    }

    @Test("an answer of the kernel's must have a size that makes sense")
    func answerSizes() {
        let memory = FailingMemory()
        for (count, expected) in [(0, -EIO), (15, -EIO), (16, 0), (1 << 20, 0), ((1 << 20) + 1, -EIO), (-22, -EIO)] {
            let status = cStatus { () throws(Status) in _ = try QueryAnswer(count: count, memory: memory.pointer) }
            #expect(status == expected)
        }
        #expect(memory.bytes == 0)
    }

    @Test("an answer of the kernel's is zero at first, and believed as far as it goes")
    func answers() throws {
        let memory = FailingMemory()
        let status = cStatus { () throws(Status) in
            let answer = try QueryAnswer(count: 8 + 3 * 88, memory: memory.pointer)
            #expect(answer.load(UInt64.self, at: 8 + 2 * 88) == 0)
            #expect(answer.entries(claimed: 3, header: 8, stride: 88) == 3)
            #expect(answer.entries(claimed: .max, header: 8, stride: 88) == 3)
            #expect(answer.entries(claimed: 2, header: 8, stride: 88) == 2)
            #expect(answer.entries(claimed: 3, header: 9, stride: 88) == 2)
            #expect(answer.entries(claimed: 3, header: 1000, stride: 88) == 0)
        }
        #expect(status == 0)
        #expect(memory.bytes == 0)
    }
}
