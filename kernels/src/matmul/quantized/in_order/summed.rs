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
    /// The sums.
    pub(super) sums: [S::Int; GROUPS],
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
    fn raised16(&mut self, group: usize, _codes: [S::Int; 8], _scales: [S::Float; 2]) {
        // Sums have been multiplied with the scales, which are whole numbers where rows are read in order,
        // and nothing is left to be added to them.
        let group = self.fused.first + group;
        self.lines.ask(self.simd(), group);
        let sum = self.simd().to_float(self.sums[group]);
        self.fused.add_scaled(group, [sum]);
    }

    #[inline(always)]
    fn unit(&mut self, unit: S::Float) {
        self.fused.unit(unit);
    }

    #[inline(always)]
    fn ordered16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        self.raised16(group, codes, scales);
    }

    #[inline(always)]
    fn whole16(&mut self, _group: usize, _codes: [S::Int; 8], _scales: S::Int, _factor: S::Float) {
        unreachable!("whole scales of few bits, which are not read in order");
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
