// XePageAttributes: indices into the table of page attributes (PAT) that the xe driver sets up. It does not tell them:
// they follow from the version of the graphics.

import CUnbind

struct XePageAttributes {
    /// 1255 for 12.55.
    let version: UInt32

    /// For memory that the CPU caches: the GPU sees what is in its caches. The driver takes no other index for it.
    var coherent: UInt16 {
        switch version {
        case ..<1260: 0
        case ..<2000: 3
        default: 2
        }
    }

    /// For memory that the CPU does not cache, by UNBIND_CACHE_*.
    func index(forCacheLevel level: UInt32) -> UInt16 {
        switch (level, version) {
        case (UNBIND_CACHE_NONE, ..<1260): 3
        case (UNBIND_CACHE_NONE, ..<1270): 0
        case (UNBIND_CACHE_NONE, ..<2000): 2
        case (UNBIND_CACHE_NONE, _): 3
        case (UNBIND_CACHE_WRITE_COMBINE, ..<1270): 1
        case (UNBIND_CACHE_WRITE_COMBINE, ..<2000): 2
        case (UNBIND_CACHE_WRITE_COMBINE, _): 3
        default: coherent
        }
    }
}
