@_exported import CUnbind
