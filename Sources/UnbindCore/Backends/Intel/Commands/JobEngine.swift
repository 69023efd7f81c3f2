// JobEngine: the class of engine that a queue's jobs run on, and which commands it has for them.

import CUnbind

/// As both drivers number them.
enum EngineKind: UInt16 {
    case render = 0
    case copy = 1
    case video = 2
    case videoEnhance = 3
    case compute = 4

    /// UNBIND_QUEUE_*; nil: none of them.
    init?(queueFlags: UInt32) {
        switch queueFlags {
        case UNBIND_QUEUE_COPY: self = .copy
        case UNBIND_QUEUE_RENDER: self = .render
        case UNBIND_QUEUE_COMPUTE: self = .compute
        case UNBIND_QUEUE_VIDEO: self = .video
        case UNBIND_QUEUE_VIDEO_ENHANCE: self = .videoEnhance
        default: return nil
        }
    }
}

struct JobEngine: BitwiseCopyable {
    let kind: EngineKind
    /// How it copies and fills; nil: not at all.
    let copy: CopyEngine?
    /// Its batches may call others.
    let callsBatches: Bool

    /// By the version of the graphics, 1255 for 12.55. nil: nothing of use here.
    init?(_ kind: EngineKind, version: UInt32, callsBatches: Bool = true) {
        guard let copy = CopyEngine(version: version) else { return nil }
        self.kind = kind
        self.copy = kind == .copy ? copy : nil
        self.callsBatches = callsBatches
    }
}
