//! A tile of quantized weights: unpacked codes and scales of one block of 256 of each row of a
//! panel, in the first-level cache.

use super::{FirstGroup, GROUPS, Quantized, block_bytes, multiply, unpack};
use crate::activations::{START_OFFSET, VARIANTS};
use crate::formats::SUPER;
use crate::isa::{CodeRange, Lanes};
use crate::matmul::ahead::Ahead;
use crate::matmul::tiled::{Panel, Sums, Tiled};
use crate::matmul::{ROOMY, Rows};
use crate::unpack::{Group, Layout, Sink, Unpack, natural};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

/// 256 unpacked weights of each row of a panel.
#[derive(Clone, Copy)]
pub(super) struct Tile<S: Lanes> {
    pub(super) codes: [S::Int; SUPER / 4],
    /// The scale of each group of 32 or 16; that of all of them, if group scales are whole numbers that
    /// codes or sums have been multiplied with.
    pub(super) scales: [S::Float; SUPER / 16],
    /// The whole numbers that scale groups of 16 in pairs, where codes have not been multiplied by
    /// them.
    pub(super) whole: [S::Int; GROUPS],
    /// What sums of signed codes begin with, for full panels where those are [flipped](Lanes::FLIPS).
    pub(super) starts: [S::Int; GROUPS],
    pub(super) minimums: [S::Float; GROUPS],
    pub(super) pairs: [S::Int; GROUPS],
    /// The unit of whole minimums, or of whole scales that are among `scales`.
    pub(super) factor: S::Float,
    /// Each scale of a group of 32 times every mantissa of the activations' scales, if it was asked
    /// for.
    pub(super) table: [[MaybeUninit<S::Float>; VARIANTS]; GROUPS],
}

impl<S: Lanes> Tile<S> {
    /// The codes of a group.
    #[inline(always)]
    pub(super) fn group(&self, number: usize) -> &[S::Int; 8] {
        let (groups, _) = self.codes.as_chunks();
        &groups[number]
    }
}

/// Whether codes have been multiplied by the whole numbers that scale them: into unsigned bytes if
/// they had no offset. The products of others are negated, and so is their unit: −128 fits in a
/// signed byte, 128 does not.
pub(super) const fn scaled<S: Lanes, L: Layout>() -> bool {
    matches!(L::GROUP, Group::Whole16) && S::SCALED_IN_TILES
}

/// What codes have been raised by in a tile. With instructions that multiply unsigned bytes, which
/// take the larger codes at no cost, it is the same for all formats that have an offset, so that
/// starts are used as they stand; with those that multiply signed bytes it is nothing.
///
/// Small signed codes are raised where products of unsigned ones cost less.
pub(super) const fn offset<S: Lanes, L: Layout>() -> i32 {
    if scaled::<S, L>() {
        return match L::OFFSET {
            0 => 0,
            _ if S::SIGNED_IN_TILES => 0,
            _ => S::SIGNED_OFFSET,
        };
    }
    if L::MAX.is_none() && S::UNSIGNED_IN_TILES && L::MAGNITUDE < 64 {
        return (L::MAGNITUDE as i32 + 1).unsigned_abs().next_power_of_two() as i32;
    }
    match (super::offset::<S, L>(), S::SIGNED_OFFSET) {
        (0, _) => 0,
        _ if S::SIGNED_IN_TILES => 0,
        (_, START_OFFSET) => START_OFFSET,
        (offset, _) => offset,
    }
}

/// Whether codes are multiplied as magnitudes, by full panels.
pub(super) const fn flips<S: Lanes, L: Layout>() -> bool {
    S::FLIPS && matches!(L::GROUP, Group::Of32) && <InTile<S, L> as CodeRange>::MAX.is_none()
}

/// What the codes of a layout are in a tile.
pub(super) struct InTile<S, L>(PhantomData<(S, L)>);

impl<S: Lanes, L: Layout> CodeRange for InTile<S, L> {
    const MAX: Option<u8> = match (L::MAX, offset::<S, L>()) {
        _ if scaled::<S, L>() && L::OFFSET == 0 => Some(L::MAGNITUDE),
        _ if scaled::<S, L>() => None,
        (None, raised @ 1..START_OFFSET) => Some(L::MAGNITUDE + raised as u8),
        (max, _) => max,
    };
}

impl<S: Lanes, B: Unpack> Tiled<S> for Quantized<B> {
    type Tile = Tile<S>;

    const BLOCK_BYTES: usize = block_bytes::<B>();

    #[inline(always)]
    fn tiles(near: usize) -> usize {
        match B::Layout::GROUP {
            // The sums of both halves of a group, of two tiles, do not fit the registers. Where vectors
            // are read as fast as they are multiplied, as on Zen 4, that costs more than reading less
            // gains; the sums of six columns hide what each waits for the one before.
            Group::Of16 | Group::Wide16 if near < ROOMY && S::FULL_COLUMNS >= 6 => 1,
            _ => S::TILES,
        }
    }

    #[inline(always)]
    fn tile(simd: S) -> Tile<S> {
        let zero = simd.splat_float(0.0);
        Tile {
            codes: [simd.splat_int(0); SUPER / 4],
            scales: [zero; SUPER / 16],
            whole: [simd.splat_int(0); GROUPS],
            starts: [simd.splat_int(0); GROUPS],
            minimums: [zero; GROUPS],
            pairs: [simd.splat_int(0); GROUPS],
            factor: zero,
            table: [[MaybeUninit::uninit(); VARIANTS]; GROUPS],
        }
    }

    #[inline(always)]
    fn times(tiles: usize, panels: usize) -> usize {
        // With each group that is unpacked, and with each panel of columns that is multiplied.
        tiles * GROUPS + panels
    }

    #[inline(always)]
    fn unpack(
        simd: S,
        (panel, block): (&Panel<'_>, usize),
        tile: &mut Tile<S>,
        full_panels: bool,
        ahead: &mut Ahead,
    ) {
        let mut sink = IntoTile::<S, B> {
            simd,
            tile,
            ahead,
            first: 0,
            block: PhantomData,
        };
        unpack::<S, B>(simd, panel, block, &mut sink);
        let tables = match B::Layout::GROUP {
            _ if !S::SCALES_BY_POWERS => 0,
            Group::Of32 => GROUPS,
            Group::Of16 | Group::Wide16 => 0,
            Group::Whole16 => 1,
        };
        if full_panels {
            if const { flips::<S, B::Layout>() } {
                let (groups, _) = tile.codes.as_chunks::<8>();
                for (start, codes) in tile.starts.iter_mut().zip(groups) {
                    *start = simd.flipped_start(codes);
                }
            }
            for (table, &scale) in tile.table[..tables].iter_mut().zip(&tile.scales) {
                for (v, product) in table.iter_mut().enumerate() {
                    let mantissa = 1.0 + v as f32 / VARIANTS as f32;
                    product.write(simd.multiply_float(scale, simd.splat_float(mantissa)));
                }
            }
        }
    }

    #[inline(always)]
    fn multiply(simd: S, rows: &Rows<'_>, tiles: &[Tile<S>], sums: Sums<'_>, ahead: &mut Ahead) {
        multiply::all_columns::<S, B::Layout>(simd, rows, tiles, sums, ahead);
    }
}

/// Stores weights in a tile.
struct IntoTile<'t, S: Lanes, B> {
    simd: S,
    tile: &'t mut Tile<S>,
    ahead: &'t mut Ahead,
    first: usize,
    block: PhantomData<B>,
}

impl<S: Lanes, B: Unpack> IntoTile<'_, S, B> {
    #[inline(always)]
    fn codes(&mut self, group: usize, mut codes: [S::Int; 8]) -> usize {
        self.ahead.ask(self.simd);
        let group = self.first + group;
        let further = const { offset::<S, B::Layout>() - super::offset::<S, B::Layout>() };
        if B::Layout::MAX.is_none() && further != 0 {
            // Flipping the sign bit of a byte adds 128, of which a part is taken away.
            let sign = self.simd.splat_int(0x8080_8080_u32 as i32);
            let lower = self.simd.splat_int((START_OFFSET - further) * 0x0101_0101);
            for codes in &mut codes {
                *codes = self.simd.subtract_int(self.simd.xor(*codes, sign), lower);
            }
        } else if further < 0 {
            // Raising a code by what is left to 128 and flipping the sign bit lowers it.
            let raise = self.simd.splat_int((START_OFFSET + further) * 0x0101_0101);
            let sign = self.simd.splat_int(0x8080_8080_u32 as i32);
            for codes in &mut codes {
                *codes = self.simd.xor(self.simd.add_int(*codes, raise), sign);
            }
        } else if further > 0 {
            // Codes and what is added are below 128, so bytes do not carry.
            let further = self.simd.splat_int(further * 0x0101_0101);
            for codes in &mut codes {
                *codes = self.simd.add_int(*codes, further);
            }
        }
        let codes = self.simd.for_tile(codes);
        self.tile.codes[8 * group..][..8].copy_from_slice(&codes);
        group
    }
}

impl<S: Lanes, B: Unpack> FirstGroup<S> for IntoTile<'_, S, B> {
    #[inline(always)]
    fn first_group(&mut self, group: usize) {
        self.first = group;
    }
}

impl<S: Lanes, B: Unpack> Sink<S> for IntoTile<'_, S, B> {
    type Layout = B::Layout;

    #[inline(always)]
    fn simd(&self) -> S {
        self.simd
    }

    #[inline(always)]
    fn raised32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        let group = self.codes(group, codes);
        self.tile.scales[group] = scale;
    }

    #[inline(always)]
    fn ordered32(&mut self, group: usize, codes: [S::Int; 8], scale: S::Float) {
        let codes = natural(self.simd, B::ORDER, codes);
        self.raised32(group, codes, scale);
    }

    #[inline(always)]
    fn raised16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        let group = self.codes(group, codes);
        self.tile.scales[2 * group..][..2].copy_from_slice(&scales);
    }

    #[inline(always)]
    fn whole16(&mut self, group: usize, mut codes: [S::Int; 8], scales: S::Int, factor: S::Float) {
        let simd = self.simd;
        if !const { scaled::<S, B::Layout>() } {
            let group = self.codes(group, codes);
            self.tile.whole[group] = scales;
            self.tile.scales[0] = factor;
            return;
        }
        self.ahead.ask(simd);
        let sign = simd.splat_int(0x8000);
        let low = simd.and(scales, simd.splat_int(0xffff));
        for (half, number) in [low, simd.shift_right::<16>(scales)]
            .into_iter()
            .enumerate()
        {
            // The sign extended.
            let number = simd.subtract_int(simd.xor(number, sign), sign);
            // The four bytes of a lane are products of 32-bit numbers: none is negative when raised.
            let offset = B::Layout::OFFSET;
            let ones = simd.splat_int(0x0101_0101);
            let most = simd.multiply_int(number, simd.splat_int(offset));
            let most = simd.add_int(most, simd.splat_int(START_OFFSET));
            let most = simd.multiply_int(most, ones);
            for codes in &mut codes[4 * half..][..4] {
                let products = simd.multiply_int(*codes, number);
                *codes = match offset {
                    0 => products,
                    _ => simd.subtract_int(most, products),
                };
                if offset != 0 && const { self::offset::<S, B::Layout>() } == 0 {
                    *codes = simd.xor(*codes, simd.splat_int(0x8080_8080_u32 as i32));
                }
            }
        }
        let group = self.first + group;
        self.tile.codes[8 * group..][..8].copy_from_slice(&simd.for_tile(codes));
        self.tile.scales[0] = match B::Layout::OFFSET {
            0 => factor,
            _ => simd.multiply_float(factor, simd.splat_float(-1.0)),
        };
    }

    #[inline(always)]
    fn unit(&mut self, unit: S::Float) {
        self.tile.factor = unit;
    }

    #[inline(always)]
    fn ordered16(&mut self, group: usize, codes: [S::Int; 8], scales: [S::Float; 2]) {
        let codes = natural(self.simd, B::ORDER, codes);
        self.raised16(group, codes, scales);
    }

    #[inline(always)]
    fn minimum32(&mut self, group: usize, minimum: S::Float) {
        self.tile.minimums[self.first + group] = minimum;
    }

    #[inline(always)]
    fn minimums32(&mut self, pairs: [S::Int; 4], factor: S::Float) {
        self.tile.pairs[..4].copy_from_slice(&pairs);
        self.tile.factor = factor;
    }

    #[inline(always)]
    fn minimums16(&mut self, pairs: [S::Int; 8], factor: S::Float) {
        self.tile.pairs = pairs;
        self.tile.factor = factor;
    }
}
