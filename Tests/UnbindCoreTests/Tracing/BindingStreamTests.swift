import CUnbind
import Testing

@testable import UnbindCore

@Suite struct BindingStreamTests {
    @Test("the work item lies where the stream says")
    func layout() {
        let gpu = DirectedGPU(bindings: BindingLog())
        let stream = VMPointer(gpu.makeSpace()).pointee.stream!
        let context = stream.itemPointer.pointee.context
        #expect(context == UnsafeMutableRawPointer(stream))
        gpu.close()
    }

    @Test("events have the values of the header")
    func values() {
        #expect(BindingEventKind.bind.rawValue == UInt32(UNBIND_EVENT_BIND))
        #expect(BindingEventKind.bindDone.rawValue == UInt32(UNBIND_EVENT_BIND_DONE))
        #expect(BindingEventKind.unbind.rawValue == UInt32(UNBIND_EVENT_UNBIND))
        #expect(BindingEventKind.unbindDone.rawValue == UInt32(UNBIND_EVENT_UNBIND_DONE))
        #expect(UnbindObstacle.work.rawValue == UInt32(UNBIND_AWAITS_WORK))
        #expect(UnbindObstacle.clearing.rawValue == UInt32(UNBIND_AWAITS_CLEARING))
        #expect(UnbindObstacle.holds.rawValue == UInt32(UNBIND_AWAITS_HOLDS))
        for (operation, value) in [
            (HistoryOperation.bindScheduled, UNBIND_OPERATION_BIND_SCHEDULED), (.bound, UNBIND_OPERATION_BOUND),
            (.unbindScheduled, UNBIND_OPERATION_UNBIND_SCHEDULED),
            (.unbindStarted, UNBIND_OPERATION_UNBIND_STARTED),
            (.unbindCompleted, UNBIND_OPERATION_UNBIND_COMPLETED),
        ] { #expect(UInt32(operation.rawValue) == UInt32(value)) }
    }
}
