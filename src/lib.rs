//! Generatio, a sidecar for PocketBase.
