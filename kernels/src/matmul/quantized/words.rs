//! The words of prepared activations, as kernels read them: by constant numbers, without checking
//! bounds anew. How they are made is the business of [`crate::activations`].

use crate::activations::{START_OFFSET, part};
use crate::isa::Lanes;

/// The words of a block of a panel of `W` columns, or those from a later one on, so that word
/// numbers are constants and addresses need no arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Words<const W: usize>(*const i32);

impl<const W: usize> Words<W> {
    /// Those of a whole block.
    #[inline(always)]
    pub(super) fn new(words: &[i32]) -> Self {
        assert_eq!(words.len(), part::TOTAL * W);
        Words(words.as_ptr())
    }

    /// The words from word `word` on, which then is number 0.
    #[inline(always)]
    pub(super) fn skip(self, word: usize) -> Self {
        Words(self.0.wrapping_add(word * W))
    }

    /// Word `word` of column `c`.
    #[inline(always)]
    pub(super) fn word(self, word: usize, c: usize) -> i32 {
        debug_assert!(word < part::TOTAL && c < W);
        // SAFETY: `new` found `TOTAL` words for each of `W` columns, and callers name a word of a
        // part, of a group below the block's number of groups, and a column.
        unsafe { *self.0.add(word * W + c) }
    }

    /// The same, a float.
    #[inline(always)]
    pub(super) fn float(self, word: usize, c: usize) -> f32 {
        f32::from_bits(self.word(word, c) as u32)
    }

    /// Where word 0 of the first column lies.
    #[inline(always)]
    pub(super) fn pointer(self) -> *const i32 {
        self.0
    }

    /// What the dot products of a group begin with, where `word` has the first column's and codes
    /// have been raised by `offset`.
    #[inline(always)]
    pub(super) fn starts<S: Lanes>(self, simd: S, word: usize, offset: i32) -> [S::Int; W] {
        let mut starts = [simd.splat_int(0); W];
        if let Some(shift) = shift(offset) {
            for (c, start_of) in starts.iter_mut().enumerate() {
                *start_of = simd.splat_shifted(self.word(word, c), shift);
            }
        }
        starts
    }
}

/// How far starts are shifted right for `offset`, if there is one: an exact division, as offsets are
/// powers of two.
#[inline(always)]
fn shift(offset: i32) -> Option<u32> {
    match offset {
        0 => None,
        _ => Some((START_OFFSET / offset).trailing_zeros()),
    }
}
