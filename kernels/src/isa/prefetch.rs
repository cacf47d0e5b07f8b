//! Asking for a cache line that will be read, which every processor of a kind can do, whatever instruction
//! sets it has.
#![allow(unsafe_code)]

/// Asks for the cache line at `from` in the second-level cache; any address will do.
///
/// The intrinsic would be moved: in long bodies all of them come at the end, in a burst that takes every
/// buffer for misses. This stays where it stands.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn prefetch(from: *const u8) {
    // SAFETY: a hint, which cannot fault.
    unsafe {
        std::arch::asm!("prefetcht1 [{from}]", from = in(reg) from, options(nostack, preserves_flags));
    }
}

/// Asks for the cache line at `from` in the second-level cache; any address will do.
#[cfg(target_arch = "aarch64")]
#[inline(always)]
pub(crate) fn prefetch(from: *const u8) {
    // SAFETY: a hint, which cannot fault.
    unsafe {
        std::arch::asm!("prfm pldl2keep, [{from}]", from = in(reg) from, options(nostack, preserves_flags));
    }
}

/// Does nothing: there is no instruction that is known for it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline(always)]
pub(crate) fn prefetch(_from: *const u8) {}
