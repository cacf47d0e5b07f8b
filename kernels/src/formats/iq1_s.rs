//! IQ1_S: 256 weights in eight groups of four points of a codebook of eight-weight points, with a
//! 3-bit scale and a shift per group;
//! weight = scale × (2 × group scale + 1) × (point's weight ± ⅛).

use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use std::mem::offset_of;

use crate::isa::Lanes;
use crate::unpack::{BlockRows, Order, Sink, Small32, Unpack, shift_right_each};

use super::points::{self, Stepped};
use super::search::shifted;
use super::tables::{self, Levels, Points};
use super::{Block, Half, SUPER, block_size, grids};

/// What a group's shift adds to its weights or takes from them.
pub(crate) const SHIFT: f32 = 0.125;

/// 50 bytes, 1.5625 bits per weight.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Iq1S {
    /// Scale of the group scales.
    pub(crate) scale: Half,
    /// Bits 0–7 of the index of each point.
    pub(crate) points_low: [u8; SUPER / 8],
    /// Of each group: bit 15 = set if the shift is negative | bits 12–14 = group scale |
    /// bits 3 k to 3 k + 2 = bits 8–10 of the index of the group's point k.
    pub(crate) groups: [U16; SUPER / 32],
}

block_size!(Iq1S, 50);

impl Block for Iq1S {
    const WEIGHTS: usize = SUPER;

    fn decode(&self, out: &mut [f32]) {
        for (p, out) in out.chunks_exact_mut(8).enumerate() {
            let group = self.groups[p / 4].get();
            let scale = self.scale.to_f32() * f32::from(2 * (group >> 12 & 7) + 1);
            let shift = if group & 0x8000 == 0 { SHIFT } else { -SHIFT };
            let high = group >> (3 * (p % 4)) & 7;
            let point = &grids::IQ1[usize::from(u16::from(self.points_low[p]) | high << 8)];
            for (out, &weight) in out.iter_mut().zip(point) {
                *out = scale * (f32::from(weight) + shift);
            }
        }
    }

    fn encode(weights: &[f32], importance: &[f32]) -> Self {
        let found = shifted::encode::<8, 4>(weights, importance);
        Iq1S {
            scale: found.scale,
            points_low: found.points.map(|point| point as u8),
            groups: std::array::from_fn(|g| {
                let high = (0..4).fold(0, |bits, k| bits | found.points[4 * g + k] >> 8 << (3 * k));
                let minus = if found.minus[4 * g] { 0x8000 } else { 0 };
                (minus | (found.steps[g] as u16) << 12 | high).into()
            }),
        }
    }
}

static POINTS: [u32; grids::IQ1.len()] = points::eights(&grids::IQ1, &[-1, 0, 1]);

/// Eight times the levels shifted up, and from 8 on those shifted down, of IQ1_S and IQ1_M.
pub(crate) static SHIFTED: [i8; 16] = [-7, 1, 9, 0, 0, 0, 0, 0, -9, -1, 7, 0, 0, 0, 0, 0];

/// The nibbles of the point whose index is the low byte of `low` and bits 8 to 10 of `high`, in
/// IQ1_S and IQ1_M.
#[inline(always)]
pub(crate) fn point<S: Lanes>(simd: S, low: S::Int, high: S::Int) -> S::Int {
    let index = simd.or(
        simd.and(low, simd.splat_int(0xff)),
        simd.and(high, simd.splat_int(0x700)),
    );
    simd.lookup(&POINTS, index)
}

/// What shifts a point down: bit 3 of every nibble in lanes that are 1, nothing in those that
/// are 0.
#[inline(always)]
pub(crate) fn shift_bits<S: Lanes>(simd: S, minus: S::Int) -> S::Int {
    simd.multiply_int(minus, simd.splat_int(0x8888_8888_u32 as i32))
}

/// The points of IQ1_S and IQ1_M.
pub(super) static POINT_BYTES: Points<2048> = tables::eights(&grids::IQ1, &[-1, 0, 1]);

/// Eight times the levels shifted up. Shifted down they are less by [`DOWN`].
pub(super) static LEVELS: Levels = tables::levels(&[-7, 1, 9]);

/// What a shift down takes from each byte of codes that are shifted up.
pub(super) const DOWN: i32 = 0x0202_0202;

/// Unpacks as [`Unpack::unpack`] does, where there are byte tables.
#[inline(always)]
fn unpack_bytes<S: Lanes>(simd: S, blocks: BlockRows<'_, Iq1S>, sink: &mut impl Sink<S>) {
    let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq1S, scale)));
    // Codes are eight times the weights.
    let scales = Stepped::new(simd, scale, 2.0 / 8.0);
    let words = blocks.words4(simd, offset_of!(Iq1S, groups));
    let down = simd.splat_int(DOWN);
    for half in 0..2 {
        let low = blocks.words4(simd, offset_of!(Iq1S, points_low) + 16 * half);
        // A word is two groups'.
        let first = [words[2 * half], words[2 * half + 1]];
        let second = shift_right_each::<16, S, 2>(simd, first);
        let words = [first[0], second[0], first[1], second[1]];
        let mut high = words;
        for high in &mut high {
            *high = simd.fields(*high, tables::steps(0, 3));
        }
        let points = simd.lookup_bytes(&POINT_BYTES, low, high);
        for i in 0..4 {
            let mut codes = tables::places_of_eights(simd, &LEVELS, points[i]);
            for codes in &mut codes {
                *codes = simd.subtract_where((words[i], [15; 4]), (*codes, down), *codes);
            }
            let step = simd.and(simd.shift_right::<12>(words[i]), simd.splat_int(7));
            sink.ordered32(4 * half + i, codes, scales.scale(simd, step));
        }
    }
}

impl Unpack for Iq1S {
    type Layout = Small32;
    const BYTE_TABLES: bool = true;
    const ORDER: Order = Order::Eights;

    #[inline(always)]
    fn unpack<S: Lanes>(simd: S, blocks: BlockRows<'_, Self>, sink: &mut impl Sink<S>) {
        if const { S::BYTE_TABLES } {
            return unpack_bytes(simd, blocks, sink);
        }
        let scale = simd.half_to_float(blocks.half(simd, offset_of!(Iq1S, scale)));
        // Codes are eight times the weights.
        let scales = Stepped::new(simd, scale, 2.0 / 8.0);
        for half in 0..2 {
            let low = blocks.words4(simd, offset_of!(Iq1S, points_low) + 16 * half);
            for i in 0..4 {
                let group = 4 * half + i;
                let word = blocks.half(simd, offset_of!(Iq1S, groups) + 2 * group);
                let low = points::byte_shifts(simd, low[i]);
                // Bits 8 to 10 of each index in their places.
                let high = [
                    simd.shift_left::<8>(word),
                    simd.shift_left::<5>(word),
                    simd.shift_left::<2>(word),
                    simd.shift_right::<1>(word),
                ];
                let minus = shift_bits(simd, simd.shift_right::<15>(word));
                let mut codes = [word; 8];
                for p in 0..4 {
                    let eight = simd.or(point(simd, low[p], high[p]), minus);
                    [codes[2 * p], codes[2 * p + 1]] = points::codes(simd, &SHIFTED, eight);
                }
                let step = simd.and(simd.shift_right::<12>(word), simd.splat_int(7));
                sink.group32(group, codes, scales.scale(simd, step));
            }
        }
    }
}
