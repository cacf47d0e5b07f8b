//! The vocabulary of the row operations and of attention: vectors of sixteen consecutive floats.
//!
//! Every instruction set presents the same sixteen lanes, in as many registers as it needs, and
//! the same order of every sum, so that results are the same bits on all of them.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

/// Operations on sixteen consecutive floats.
pub(crate) trait Floats: Copy + Send + Sync + 'static {
    /// Sixteen floats.
    type Vector: Copy;
}
