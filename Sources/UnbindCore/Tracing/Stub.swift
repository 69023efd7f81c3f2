enum HistoryOperation { case bindScheduled, bound, unbindScheduled, unbindStarted, unbindCompleted }
struct History: ~Copyable { let memory: UnsafeMutablePointer<Memory> }
extension UnsafeMutablePointer where Pointee == History {
    static func make(memory: UnsafeMutablePointer<Memory>) throws(Status) -> Self {
        guard let h = memory.allocateArray(of: History.self, count: 1) else { throw Status.noMemory }
        h.initialize(to: History(memory: memory)); return h }
    func free() { let m = pointee.memory; m.deallocateArray(self, count: 1) }
    func record(_ o: HistoryOperation, at time: UInt64, start: UInt64, size: UInt64, boID: UInt64) {}
    func lastMapping(covering: UInt64) -> (boID: UInt64, start: UInt64, size: UInt64, boundAt: UInt64, unboundAt: UInt64)? { nil }
}
extension UnsafeMutablePointer where Pointee == AddressSpace {
  func dump(to: @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?, Int) -> Void, userData: UnsafeMutableRawPointer?) {}
}
extension UnsafeMutablePointer where Pointee == Device {
  func dump(to: @convention(c) (UnsafeMutableRawPointer?, UnsafePointer<CChar>?, Int) -> Void, userData: UnsafeMutableRawPointer?) {}
  func logLeaks(_ r: LeakReport) {}
}
