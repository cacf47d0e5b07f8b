//! The end of a block, with rows across lanes: scales and minimums of groups whose sums are known.

use crate::activations::part;
use crate::isa::OneRow;
use crate::unpack::{Sink, Unpack};

use super::super::fused::Fused;
use super::super::{FirstGroup, GROUPS};
use super::requests::Lines;
use super::row;

/// Takes the scales of a block of 256, the sums of whose groups are known already.
pub(super) struct Summed<S: OneRow, B: Unpack> {
    /// What the products are added to.
    pub(super) fused: Fused<S, B::Layout, 1>,
    /// The sums: of eight groups of 32, or of sixteen of 16.
    pub(super) sums: [S::Int; 2 * GROUPS],
    /// What is asked for meanwhile, a share with each group of 32.
    pub(super) lines: Lines,
}

impl<S: OneRow, B: Unpack> Summed<S, B> {
    /// Adds the sum of group `group` of the block of 256, times `scale` and that of the activations.
    #[inline(always)]
    pub(super) fn add(&mut self, group: usize, scale: S::Float) {
        self.lines.ask(self.simd(), group);
        let mut sum = self.sums[group];
        // To what is packed they have been added.
        if const { !row::packed::<B>() } {
            let [start] = self.fused.starts(part::STARTS32 + group);
            sum = self.simd().add_int(sum, start);
        }
        self.fused.add(group, [sum], scale);
    }

    /// The same with groups of 16; `group` counts in 32s.
    #[inline(always)]
    fn add16(&mut self, group: usize, scales: [S::Float; 2]) {
        self.lines.ask(self.simd(), group);
        let simd = self.simd();
        let mut sums = [simd.splat_float(0.0); 2];
        for (half, sum) in sums.iter_mut().enumerate() {
            let number = 2 * group + half;
            let [start] = self.fused.starts(part::STARTS16 + number);
            *sum = simd.to_float(simd.add_int(self.sums[number], start));
        }
        let both = simd.multiply_float(sums[0], scales[0]);
        let both = simd.multiply_add_float(sums[1], scales[1], both);
        self.fused.add_scaled(group, [both]);
    }
}

impl<S: OneRow, B: Unpack> FirstGroup<S> for Summed<S, B> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.fused.first_group(group);
    }
}

impl<S: OneRow, B: Unpack> Sink<S> for Summed<S, B> {
    type Layout = B::Layout;

    #[inline(always)]
    fn simd(&self) -> S {
        self.fused.simd()
    }

    #[inline(always)]
    fn raised32(&mut self, group: usize, _codes: [S::Int; 8], scale: S::Float) {
        self.add(self.fused.first + group, scale);
    }

    #[inline(always)]
    fn ordered32(&mut self, group: usize, _codes: [S::Int; 8], scale: S::Float) {
        self.add(self.fused.first + group, scale);
    }

    #[inline(always)]
    fn raised16(&mut self, group: usize, _codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.add16(self.fused.first + group, scales);
    }

    #[inline(always)]
    fn ordered16(&mut self, group: usize, _codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.add16(self.fused.first + group, scales);
    }

    #[inline(always)]
    fn whole16(&mut self, _group: usize, _codes: [S::Int; 8], _scales: S::Int, _factor: S::Float) {
        unreachable!("whole scales of groups of 16, which are not read in order");
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        self.fused.minimum32(group, minimum);
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        self.fused.minimums32(pairs, factor);
    }

    #[inline(always)]
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float) {
        self.fused.minimums16(pairs, factor);
    }
}
