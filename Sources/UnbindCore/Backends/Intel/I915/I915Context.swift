// I915Context: a context of the kernel's with one engine, in an address space that others share: runs batches in
// order. Each one's end is a point of the context's timeline.
//
// A context that has hung the GPU is dead for the kernel (it is not recoverable: what a batch of the library's needs, it
// brings along) and is replaced.

import CLibDRM
import CSystem

struct I915Context: ~Copyable {
    let backend: I915BackendPointer
    let space: UInt32
    let engine: unbind_i915_engine_class_instance
    let timeline: KernelTimelinePointer
    /// What an execution points at: the extension, the fence and its point.
    let arguments: UnsafeMutablePointer<Arguments>
    /// 0: there is none; the next execution makes it.
    var id: UInt32

    /// What the next execution lists. The batch is the last one.
    var objects: UnsafeMutablePointer<unbind_drm_i915_gem_exec_object2>
    var capacity: Int
    var count = 0

    struct Arguments {
        var fences = unbind_drm_i915_gem_execbuffer_ext_timeline_fences()
        var fence = unbind_drm_i915_gem_exec_fence()
        var point: UInt64 = 0

        static var fenceOffset: Int { 56 }
        static var pointOffset: Int { 64 }
    }

    /// An object at an address of one's choice. Nothing waits for others that use it: the library has seen to that.
    static func entry(
        _ handle: UInt32, at address: UInt64, flags: UInt64 = 0
    ) -> unbind_drm_i915_gem_exec_object2 {
        var object = unbind_drm_i915_gem_exec_object2()
        object.handle = handle
        object.offset = BatchWriter.canonical(address)
        object.flags =
            flags | UInt64(UNBIND_EXEC_OBJECT_PINNED | UNBIND_EXEC_OBJECT_SUPPORTS_48B_ADDRESS)
            | UInt64(UNBIND_EXEC_OBJECT_ASYNC)
        return object
    }
}

typealias I915ContextPointer = UnsafeMutablePointer<I915Context>

extension UnsafeMutablePointer where Pointee == I915Context {
    /// - Parameter capacity: objects that it can list without memory being needed.
    /// - Parameter points: executions that can be awaited at the same time, a power of two.
    static func make(
        _ backend: I915BackendPointer, space: UInt32, engine: unbind_i915_engine_class_instance, capacity: Int,
        points: Int
    ) throws(Status) -> I915ContextPointer {
        typealias Object = unbind_drm_i915_gem_exec_object2
        let memory = backend.pointee.memory
        var parts = (
            context: memory.allocateApart(of: I915Context.self),
            arguments: memory.allocateApart(of: I915Context.Arguments.self),
            objects: memory.allocateArray(of: Object.self, count: capacity)
        )
        do throws(Status) {
            guard let context = parts.context, let arguments = parts.arguments, let objects = parts.objects else {
                throw Status.noMemory
            }
            let id = try makeI915Context(backend.pointee.node, space: space, engine: engine)
            do throws(Status) {
                let timeline = try KernelTimelinePointer.make(waiter: backend.pointee.waiter, capacity: points)
                context.initialize(
                    to: I915Context(
                        backend: backend, space: space, engine: engine, timeline: timeline, arguments: arguments,
                        id: id, objects: objects, capacity: capacity))
            } catch {
                destroyI915Context(id, backend.pointee.node)
                throw error
            }
            context.prepareArguments()
            return context
        } catch {
            if let context = parts.context { memory.deallocateApart(context) }
            if let arguments = parts.arguments { memory.deallocateApart(arguments) }
            if let objects = parts.objects { memory.deallocateArray(objects, count: capacity) }
            parts = (nil, nil, nil)
            throw error
        }
    }

    private func prepareArguments() {
        let base = UInt64(UInt(bitPattern: pointee.arguments))
        var arguments = I915Context.Arguments()
        arguments.fences.base.name = UNBIND_DRM_I915_GEM_EXECBUFFER_EXT_TIMELINE_FENCES
        arguments.fences.fence_count = 1
        arguments.fences.handles_ptr = base &+ UInt64(I915Context.Arguments.fenceOffset)
        arguments.fences.values_ptr = base &+ UInt64(I915Context.Arguments.pointOffset)
        arguments.fence.handle = pointee.timeline.pointee.syncobj.handle
        arguments.fence.flags = UNBIND_I915_EXEC_FENCE_SIGNAL
        pointee.arguments.initialize(to: arguments)
    }

    /// Nothing is under way.
    func free() {
        let backend = pointee.backend
        let memory = backend.pointee.memory
        if pointee.id != 0 { destroyI915Context(pointee.id, backend.pointee.node) }
        pointee.timeline.free()
        memory.deallocateApart(pointee.arguments)
        memory.deallocateArray(pointee.objects, count: pointee.capacity)
        deinitialize(count: 1)
        memory.deallocateApart(self)
    }

    // MARK: Executions

    /// Nothing is listed any more.
    func beginList() { pointee.count = 0 }

    /// Lists one more.
    /// - Failure: noMemory, if there is no room and none can be had.
    func list(_ object: unbind_drm_i915_gem_exec_object2) throws(Status) {
        if pointee.count == pointee.capacity { try grow() }
        (pointee.objects + pointee.count).initialize(to: object)
        pointee.count = pointee.count &+ 1
    }

    private func grow() throws(Status) {
        typealias Object = unbind_drm_i915_gem_exec_object2
        let memory = pointee.backend.pointee.memory
        guard let objects = memory.allocateArray(of: Object.self, count: pointee.capacity * 2) else {
            throw Status.noMemory
        }
        objects.initialize(from: pointee.objects, count: pointee.count)
        memory.deallocateArray(pointee.objects, count: pointee.capacity)
        pointee.objects = objects
        pointee.capacity = pointee.capacity * 2
    }

    /// Runs the batch in the last object of the list, with the timeline's next point as out-fence.
    /// - Failure: lost: the GPU is, or the context hung before; others as the kernel has them. Nothing was run then.
    func execute(offset: UInt64, bytes: Int) throws(Status) {
        do throws(Status) {
            try executeOnce(offset: offset, bytes: bytes)
        } catch {
            // The context may be dead and not the GPU.
            guard error == .lost else { throw error }
            try replace()
            try executeOnce(offset: offset, bytes: bytes)
        }
    }

    private func executeOnce(offset: UInt64, bytes: Int) throws(Status) {
        if pointee.id == 0 { try replace() }
        let arguments = UnsafeMutableRawPointer(pointee.arguments)
        arguments.storeBytes(
            of: pointee.timeline.nextPoint, toByteOffset: I915Context.Arguments.pointOffset, as: UInt64.self)
        var request = unbind_drm_i915_gem_execbuffer2()
        request.buffers_ptr = UInt64(UInt(bitPattern: pointee.objects))
        request.buffer_count = UInt32(pointee.count)
        request.batch_start_offset = UInt32(offset)
        request.batch_len = UInt32(bytes)
        request.cliprects_ptr = UInt64(UInt(bitPattern: pointee.arguments))
        // The engine is the first of the context's.
        request.flags = UInt64(UNBIND_I915_EXEC_NO_RELOC | UNBIND_I915_EXEC_USE_EXTENSIONS)
        request.rsvd1 = UInt64(pointee.id)
        try pointee.backend.pointee.node.call(UNBIND_DRM_IOCTL_I915_GEM_EXECBUFFER2, &request, as: .submission)
    }

    /// A new context instead of one that is dead.
    private func replace() throws(Status) {
        let node = pointee.backend.pointee.node
        if pointee.id != 0 { destroyI915Context(pointee.id, node) }
        pointee.id = 0
        pointee.id = try makeI915Context(node, space: pointee.space, engine: pointee.engine)
    }
}

/// A new context in the address space, with one engine: its id.
func makeI915Context(
    _ node: DRMNode, space: UInt32, engine: unbind_i915_engine_class_instance
) throws(Status) -> UInt32 {
    typealias Parameter = unbind_drm_i915_gem_context_create_ext_setparam
    // The map: 64 bits of extensions, of which there are none, and the engine.
    var map: InlineArray<2, UInt64> = [
        0, UInt64(engine.engine_class) | UInt64(engine.engine_instance) << 16,
    ]
    var parameters = InlineArray<3, Parameter>(repeating: Parameter())
    var create = unbind_drm_i915_gem_context_create_ext()
    create.flags = UNBIND_I915_CONTEXT_CREATE_FLAGS_USE_EXTENSIONS
    var status = Status(raw: 0)
    withUnsafeMutablePointer(to: &map) { map in
        var span = parameters.mutableSpan
        span.withUnsafeMutableBufferPointer { parameters in
            let base = parameters.baseAddress!
            for index in 0..<parameters.count {
                base[index].base.name = UNBIND_I915_CONTEXT_CREATE_EXT_SETPARAM
                let isLast = index == parameters.count - 1
                base[index].base.next_extension = isLast ? 0 : UInt64(UInt(bitPattern: base + index + 1))
            }
            base[0].param.param = UInt64(UNBIND_I915_CONTEXT_PARAM_VM)
            base[0].param.value = UInt64(space)
            base[1].param.param = UInt64(UNBIND_I915_CONTEXT_PARAM_ENGINES)
            base[1].param.size = 12
            base[1].param.value = UInt64(UInt(bitPattern: map))
            base[2].param.param = UInt64(UNBIND_I915_CONTEXT_PARAM_RECOVERABLE)
            create.extensions = UInt64(UInt(bitPattern: base))
            do throws(Status) {
                try node.call(UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_CREATE_EXT, &create)
            } catch {
                status = error
            }
        }
    }
    if status.raw != 0 { throw status }
    guard create.ctx_id != 0 else { throw Status(raw: -EIO) }
    return create.ctx_id
}

func destroyI915Context(_ id: UInt32, _ node: DRMNode) {
    var destroy = unbind_drm_i915_gem_context_destroy()
    destroy.ctx_id = id
    node.end(UNBIND_DRM_IOCTL_I915_GEM_CONTEXT_DESTROY, &destroy)
}
