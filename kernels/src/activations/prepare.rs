//! The job that fills [`Activations`] from columns of floats: which thread prepares what.

use super::filling::{Filling, Values};
use super::{Activations, Precision};
use crate::isa::{Kernel, Simd};
use crate::jobs::Claims;
use std::ops::Range;

/// Blocks of columns that a thread claims at once, about: some microseconds of work.
const CLAIM: usize = 16;

/// A job that fills [`Activations`] from columns of floats.
pub struct Prepare<'a> {
    x: Values<'a>, // (columns, len)
    to: Filling<'a>,
    /// Blocks that are claimed at once.
    run: usize,
    claims: Claims,
}

impl<'a> Prepare<'a> {
    /// Will fill `into` with the columns of `x`, `len` values each.
    ///
    /// # Panics
    ///
    /// If `x` is not whole columns, or more than `into` was made for.
    pub fn new(
        x: &'a [f32],
        len: usize,
        precision: Precision,
        into: &'a mut Activations,
    ) -> Prepare<'a> {
        assert!(
            len > 0 && x.len().is_multiple_of(len),
            "columns of {len} in {} values",
            x.len()
        );
        let columns = x.len() / len;
        let to = Filling::new((columns, len), precision, into);
        let panels = to.panels().count();
        let width = columns.div_ceil(panels.max(1)).max(1);
        // Blocks of a column without a neighbour are quantized two at a time.
        let run = CLAIM.div_ceil(width).next_multiple_of(2);
        Prepare {
            x: Values {
                x,
                stride: len,
                column: 0,
                first: 0,
            },
            run,
            claims: Claims::new(panels * to.blocks().div_ceil(run)),
            to,
        }
    }

    /// Prepares pieces until none is left. Any number of threads may call it at once.
    pub fn work(&self) {
        self.to.cpu().run(Work(self));
    }

    /// The blocks and the columns of a piece.
    #[inline(always)]
    fn piece(&self, claim: usize) -> (Range<usize>, Range<usize>) {
        let panels = self.to.panels();
        let first = claim / panels.count() * self.run;
        let last = (first + self.run).min(self.to.blocks());
        (first..last, panels.get(claim % panels.count()))
    }
}

struct Work<'a, 'b>(&'b Prepare<'a>);

impl Kernel for Work<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let job = self.0;
        while let Some(claim) = job.claims.claim() {
            // SAFETY: claims are different pairs of panel and run of blocks.
            #[allow(unsafe_code)]
            unsafe {
                job.to.write(simd, job.piece(claim), job.x);
            }
        }
    }
}
