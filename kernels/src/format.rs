//! The table of weight formats: each fact about a format is written here, once.

/// A weight format that yareta computes with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// 32-bit IEEE floats.
    F32,
}
