import CSystem
import Testing

@testable import UnbindCore

/// How often a call is made that answers with an error for ever, or so many times before it works.
private func calls(_ kind: DRMNode.Request, _ error: Int32, times: Int = .max) -> (count: Int, status: Int32) {
    var count = 0
    let status = DRMNode.repeating(kind) {
        count += 1
        return count > times ? 0 : error
    }
    return (count, status)
}

@Suite struct DRMNodeTests {
    @Test("a call that works is made once", arguments: [DRMNode.Request.ordinary, .submission, .binding])
    func works(kind: DRMNode.Request) {
        #expect(calls(kind, 0) == (1, 0))
    }

    @Test("an interrupted call is repeated, but not for ever", arguments: [DRMNode.Request.ordinary, .submission, .binding])
    func interrupted(kind: DRMNode.Request) {
        #expect(calls(kind, -EINTR, times: 900) == (901, 0))
        #expect(calls(kind, -EINTR) == (1000, -EINTR))
    }

    @Test("a call that is to come again is repeated, a submission only a few times")
    func again() {
        #expect(calls(.ordinary, -EAGAIN, times: 50) == (51, 0))
        #expect(calls(.ordinary, -EAGAIN) == (100, -EAGAIN))
        #expect(calls(.submission, -EAGAIN) == (8, -EAGAIN))
    }

    @Test("what is busy for a moment only is repeated where that is known, and nowhere else")
    func busy() {
        #expect(calls(.binding, -EBUSY, times: 50) == (51, 0))
        #expect(calls(.binding, -EBUSY) == (100, -EBUSY))
        #expect(calls(.ending, -EBUSY, times: 200) == (201, 0))
        #expect(calls(.binding, -EAGAIN) == (8, -EAGAIN))
        for kind in [DRMNode.Request.ordinary, .submission] { #expect(calls(kind, -EBUSY) == (1, -EBUSY)) }
    }

    @Test("any other error is passed on at once")
    func others() {
        for error in [-ENOMEM, -ENOBUFS, -EIO, -EINVAL, -ECANCELED] {
            #expect(calls(.ordinary, error) == (1, error))
            #expect(calls(.binding, error) == (1, error))
        }
    }

    @Test("what ends something is tried until it has ended or was never there")
    func ending() {
        for (error, expected) in [(-ENOMEM, 8), (-EIO, 8), (-EINTR, 8), (-ENOENT, 1), (-EINVAL, 1), (0, 1)] {
            var count = 0
            DRMNode.insist {
                count += 1
                return error
            }
            #expect(count == expected, "\(error)")
        }
    }
}

@Suite struct XePageAttributesTests {
    @Test("memory that the CPU caches gets an index that snoops its caches on every platform")
    func coherent() {
        // DG2, Ponte Vecchio, Meteor Lake, Battlemage, Lunar Lake, Panther Lake.
        let expected: [(UInt32, UInt16)] = [(1200, 0), (1255, 0), (1260, 3), (1270, 3), (2001, 2), (2004, 2), (3000, 2)]
        for (version, index) in expected {
            let attributes = XePageAttributes(version: version)
            #expect(attributes.coherent == index, "\(version)")
            for level: UInt32 in [0, 3, 99] { #expect(attributes.index(forCacheLevel: level) == index) }
        }
    }

    @Test("other memory can be uncached and write-combined")
    func uncached() {
        let expected: [(UInt32, UInt16, UInt16)] = [(1255, 3, 1), (1260, 0, 1), (1270, 2, 2), (2001, 3, 3)]
        for (version, none, combined) in expected {
            let attributes = XePageAttributes(version: version)
            #expect(attributes.index(forCacheLevel: 1) == none, "\(version)")
            #expect(attributes.index(forCacheLevel: 2) == combined, "\(version)")
        }
    }
}
