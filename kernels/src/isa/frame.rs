//! The memory that a function keeps its variables in: where in a cache line it begins.

use std::arch::asm;
use std::mem::MaybeUninit;

/// A cache line, which holds the widest register.
#[repr(align(64))]
struct Line(#[allow(dead_code)] [u8; 64]);

/// Makes the frame of the function that this becomes part of begin with a cache line.
///
/// The compiler decides about that before it knows which registers do not suffice, by what else is in
/// memory. If that needs no alignment, vectors that have to wait in memory lie across two lines each.
#[allow(unsafe_code)]
#[inline(always)]
pub(super) fn align() {
    let line = MaybeUninit::<Line>::uninit();
    let address = line.as_ptr().addr();
    // SAFETY: there is no instruction; all it does is to ask for the address of the line.
    unsafe {
        asm!("/* {address} */", address = in(reg) address, options(nomem, nostack, preserves_flags));
    }
}
