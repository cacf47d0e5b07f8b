//! The instruction for pairs of bfloat16 does what two multiply-adds do.

use crate::isa::{Cpu, Kernel, Simd, dot_bf16_exactly};

/// Both ways of adding products of pairs, of sixteen words of weights, activations and sums.
struct Both<'a>(&'a [[u32; 16]; 3]);

impl Kernel for Both<'_> {
    type Output = Option<[[f32; 16]; 2]>;

    const DOTS_BF16: bool = true;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Option<[[f32; 16]; 2]> {
        if !S::DOTS_BF16 || S::ROWS != 16 {
            return None;
        }
        let [a, b, sums] = self.0;
        let mut found = [[0.0; 16]; 2];
        // SAFETY: a vector is sixteen words.
        #[allow(unsafe_code)]
        unsafe {
            let (a, b) = (a.as_ptr().cast(), b.as_ptr().cast());
            let (a, b) = (simd.load_int(a), simd.load_int(b));
            let sums = simd.load_float(sums.as_ptr().cast());
            simd.store_float(found[0].as_mut_ptr(), simd.dot_bf16(a, b, sums));
            simd.store_float(found[1].as_mut_ptr(), dot_bf16_exactly(simd, a, b, sums));
        }
        Some(found)
    }
}

/// Pseudo-random numbers (SplitMix64).
fn bits(state: &mut u64) -> u32 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 32) as u32
}

/// Sixteen bits of a bfloat16 with an exponent of so many, or of what is special.
fn any(state: &mut u64, exponents: std::ops::Range<u32>) -> u32 {
    const SPECIAL: [u32; 6] = [0, 0x8000, 0x7f80, 0xff80, 0x7fc0, 0x7f7f];
    let random = bits(state);
    match random >> 8 & 63 {
        0 => SPECIAL[(random >> 16) as usize % SPECIAL.len()],
        _ => {
            let exponent = exponents.start + (random >> 16) % exponents.len() as u32;
            random & 0x807f | exponent << 7
        }
    }
}

#[test]
fn the_instruction_adds_the_second_product_first() {
    let mut state = 5;
    // Weights that are at least 2^-40, activations that are at least 2^-72, sums of any
    // such products, and numbers of everyday size, whose sums lose digits.
    for (weights, activations) in [(87..255, 55..255), (120..132, 120..132)] {
        for _ in 0..20_000 {
            let mut words = [[0; 16]; 3];
            for i in 0..16 {
                let mut pair = |exponents: &std::ops::Range<u32>| {
                    any(&mut state, exponents.clone()) | any(&mut state, exponents.clone()) << 16
                };
                words[0][i] = pair(&weights);
                words[1][i] = pair(&activations);
                words[2][i] = match any(&mut state, 30..220) << 16 {
                    sum if sum << 1 == 0 => sum,
                    sum => sum | bits(&mut state) >> 16,
                };
            }
            for cpu in Cpu::all() {
                let Some([found, expected]) = cpu.run(Both(&words)) else {
                    continue;
                };
                for i in 0..16 {
                    let same = found[i].to_bits() == expected[i].to_bits();
                    assert!(
                        same || found[i].is_nan() && expected[i].is_nan(),
                        "{:x?}: {:e}, not {:e}",
                        words.map(|words| words[i]),
                        found[i],
                        expected[i]
                    );
                }
            }
        }
    }
}
