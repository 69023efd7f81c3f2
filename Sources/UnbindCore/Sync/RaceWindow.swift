// RaceWindow: places between two steps where another thread could come between, and hardly ever does. In debug builds
// a test can hold a thread up there.

import Synchronization

enum RaceWindow: Int {
    /// An imported fence is listed, and the kernel is not listened to yet.
    case importIsListed
    /// What the kernel held of an imported fence has been dropped.
    case watchIsDropped
    /// A lost device's waiter is about to tell those who wait for one of its timelines.
    case lossIsToBeTold
    /// One of several things that a join awaits has been counted.
    case memberIsCounted

    /// With the number of the window and the device, or whatever it is about.
    typealias Visitor = @convention(c) (Int, UnsafeRawPointer) -> Void

    #if DEBUG
        /// Calls it whenever a thread passes a window; nil: nobody.
        static func visit(_ visitor: Visitor?) {
            raceWindowVisitor.store(unsafe unsafeBitCast(visitor, to: UInt.self), ordering: .releasing)
        }
    #endif

    @inline(__always)
    func pass(_ object: UnsafeRawPointer) {
        #if DEBUG
            let visitor = raceWindowVisitor.load(ordering: .acquiring)
            if visitor != 0 { unsafe unsafeBitCast(visitor, to: Visitor.self)(rawValue, object) }
        #endif
    }
}

#if DEBUG
    private let raceWindowVisitor = Atomic<UInt>(0)
#endif
