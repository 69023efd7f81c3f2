// Exports of <unbind/base.h>.

import CUnbind

@implementation @_cdecl("unbind_version")
public func unbind_version() -> UInt32 { 1 << 10 }
