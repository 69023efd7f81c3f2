// Pitfalls of the parts below the C functions (kernel semantics 1.17), and holds for the tests above.

import Glibc
import Testing

@testable import UnbindCore

/// A hold on a binding, by the handle of its VMA or of its unbind fence.
final class BindingHold: @unchecked Sendable {
    private let resource: ResourcePointer
    let isHeld: Bool

    init(ofVMA handle: OpaquePointer) {
        resource = VMAPointer(handle).pointee.resource!
        isHeld = resource.hold()
    }

    init(ofUnbind fence: OpaquePointer) {
        resource = ResourcePointer(of: FencePointer(fence))
        isHeld = resource.hold()
    }

    func end() { resource.unhold() }
}

@Suite struct ReservationAndGateTests {
    private func makeReservation(_ memory: TestMemory) -> UnsafeMutablePointer<Reservation> {
        let reservation = UnsafeMutablePointer<Reservation>.allocate(capacity: 1)
        reservation.initialize(to: Reservation(memory: memory.pointer))
        return reservation
    }

    @Test("P2: reservations of slots add up: whoever reserved first still has its slots after another has used its own")
    func reservationsAddUp() throws {
        let memory = TestMemory()
        let reservation = makeReservation(memory)
        let fences = (0..<12).map { _ in makeTestFence() }
        try reservation.reserve(2)
        for (index, fence) in fences.prefix(8).enumerated() {
            try reservation.reserve(1)
            reservation.add(fence, usage: .read)
            #expect(reservation.count == index + 1)
        }
        try reservation.reserve(3)
        reservation.unreserve(1)
        for fence in fences.suffix(4) { reservation.add(fence, usage: .bookkeep) }
        #expect(reservation.count == 12)
        for fence in fences.reversed() {
            let found = reservation.anyUnsignalled(usage: .bookkeep)
            #expect(found == fence)
            found?.drop()
            fence.signal(at: 1)
        }
        #expect(reservation.anyUnsignalled(usage: .bookkeep) == nil)
        reservation.dispose()
        reservation.deinitialize(count: 1)
        reservation.deallocate()
        for fence in fences { fence.drop() }
    }

    @Test("P11: fences without a timeline never replace each other, those of one timeline and usage do")
    func replacing() throws {
        let memory = TestMemory()
        let reservation = makeReservation(memory)
        let loose = (0..<3).map { _ in makeTestFence() }
        let first = makeTestFence(context: 7, seqno: 1)
        let second = makeTestFence(context: 7, seqno: 2)
        try reservation.reserve(6)
        for fence in loose { reservation.add(fence, usage: .read) }
        #expect(reservation.count == 3)
        reservation.add(first, usage: .read)
        reservation.add(second, usage: .read)
        #expect(reservation.count == 4)
        // The older one does not push the newer one out.
        reservation.add(first, usage: .read)
        #expect(reservation.count == 5)
        reservation.dispose()
        reservation.deinitialize(count: 1)
        reservation.deallocate()
        for fence in loose + [first, second] { fence.drop() }
    }

    /// One link: a gate that awaits the fence before, and its own fence, signalled with the gate's error.
    private final class Link {
        let fence = makeTestFence()
        let gate = UnsafeMutablePointer<SoftwareFence>.allocate(capacity: 1)
        var error: Int32

        init(error: Int32) {
            self.error = error
            gate.initialize(to: SoftwareFence())
            gate.pointee.await()
        }

        deinit {
            fence.drop()
            gate.deinitialize(count: 1)
            gate.deallocate()
        }

        /// The one before has ended so.
        func complete(error: Int32) -> Bool { gate.pointee.complete(error: error) }
        func commit() -> Bool { gate.pointee.commit() }
        func await() { gate.pointee.await() }
        var gateError: Int32 { gate.pointee.error }
    }

    @Test(
        "P30: an error that arises in the middle of a chain reaches its end, also behind 4096 gates",
        arguments: [3, 4096])
    func errorsTravel(length: Int) {
        let middle = length / 2
        let links = (0..<length).map { index in Link(error: index == middle ? -EIO : 0) }
        for link in links { #expect(!link.commit()) }
        var error: Int32 = 0
        for (index, link) in links.enumerated() {
            #expect(link.complete(error: error))
            let own = link.gateError != 0 ? link.gateError : link.error
            link.fence.signal(error: own, at: 1)
            error = link.fence.error
            #expect(error == (index < middle ? 0 : -EIO))
        }
    }

    @Test("P30: the first error to come is the gate's, and 0 is none")
    func firstErrorWins() {
        let link = Link(error: 0)
        link.await()
        link.await()
        #expect(!link.complete(error: 0) && !link.complete(error: -EFAULT) && !link.complete(error: -EIO))
        #expect(link.commit() && link.gateError == -EFAULT)
    }
}
