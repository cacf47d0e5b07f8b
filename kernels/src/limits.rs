//! The two limits of this machine that speeds are measured against: how fast a thread can read
//! memory, and how many products its integer and float units can add. Timing and threads are the
//! caller's.

use crate::isa::{CodeRange, Cpu, Kernel, Simd};
use std::hint::black_box;

/// Reads every byte of `bytes` in order, as a kernel that streams weights does, and returns a
/// number that depends on all of them.
pub fn read(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks::<8>();
    let mut sums = [0u64; 32];
    let (lines, rest) = words.as_chunks::<32>();
    for line in lines {
        for (sum, word) in sums.iter_mut().zip(line) {
            *sum = sum.wrapping_add(u64::from_le_bytes(*word));
        }
    }
    rest.iter()
        .fold(sums.iter().fold(0, |a, b| a.wrapping_add(*b)), |a, word| {
            a.wrapping_add(u64::from_le_bytes(*word))
        })
}

/// Multiplies int8 codes out of registers with int8 activations, `rounds` times over, and returns
/// the number of products added.
pub fn int8_products(cpu: Cpu, rounds: usize) -> u64 {
    cpu.run(Int8 {
        rounds: black_box(rounds),
    })
}

/// Multiplies and adds floats out of registers, `rounds` times over, and returns the number of
/// products added.
pub fn float_products(cpu: Cpu, rounds: usize) -> u64 {
    cpu.run(Float {
        rounds: black_box(rounds),
    })
}

/// Multiplies and adds bfloat16 out of registers, in pairs where an instruction does, else as floats,
/// `rounds` times over, and returns the number of products added.
pub fn bf16_products(cpu: Cpu, rounds: usize) -> u64 {
    match cpu.dots_bf16() {
        true => cpu.run(Bf16 {
            rounds: black_box(rounds),
        }),
        false => float_products(cpu, rounds),
    }
}

/// Columns of codes multiplied at once, with as many tiles as a kernel would: enough independent sums
/// to hide the latency of an instruction.
const COLUMNS: usize = 8;

/// Sums of floats made at once at most.
const SUMS: usize = 16;

/// Sums of floats made at once: what registers hold besides two operands, where there are 16 of them.
const fn sums<S: Simd>() -> usize {
    match S::ROWS {
        8 => 12,
        _ => SUMS,
    }
}

enum Nibbles {}

impl CodeRange for Nibbles {
    const MAX: Option<u8> = Some(15);
}

struct Int8 {
    rounds: usize,
}

impl Kernel for Int8 {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        let codes: [S::Int; 8] = std::array::from_fn(|i| simd.splat_int(i as i32 * 0x0101_0101));
        let x: [i32; 8 * COLUMNS] = std::array::from_fn(|i| i as i32 * 0x0102_0304);
        let columns = match (S::TILES, S::FULL_COLUMNS) {
            (1, _) => tiles::<S, COLUMNS, 1>(simd, self.rounds, &codes, &x),
            (_, 6) => tiles::<S, 6, 2>(simd, self.rounds, &codes, &x),
            _ => tiles::<S, 5, 2>(simd, self.rounds, &codes, &x),
        };
        (self.rounds * 8 * columns * 4 * S::ROWS) as u64
    }
}

/// Multiplies `W` columns with each of `T` tiles; returns how many that are together.
#[inline(always)]
fn tiles<S: Simd, const W: usize, const T: usize>(
    simd: S,
    rounds: usize,
    codes: &[S::Int; 8],
    x: &[i32; 8 * COLUMNS],
) -> usize {
    const { assert!(W <= COLUMNS) };
    let mut sums = [simd.splat_int(0); W];
    for _ in 0..rounds {
        let mut all = [codes; T];
        for codes in &mut all {
            *codes = black_box(codes);
        }
        // SAFETY: `x` is eight words for each column.
        #[allow(unsafe_code)]
        let next = unsafe { simd.dot_tiles::<Nibbles, 8, W, T>(sums, all, black_box(x).as_ptr()) };
        sums = next[0];
        // What is not used would not be computed.
        for next in &next[1..] {
            for (sum, &next) in sums.iter_mut().zip(next) {
                *sum = simd.add_int(*sum, next);
            }
        }
    }
    black_box(sums);
    W * T
}

struct Float {
    rounds: usize,
}

impl Kernel for Float {
    type Output = u64;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        let (a, b) = (simd.splat_float(0.5), simd.splat_float(black_box(0.25)));
        let mut all = [simd.splat_float(0.0); SUMS];
        let sums = &mut all[..const { sums::<S>() }];
        for _ in 0..self.rounds {
            for _ in 0..8 {
                for sum in &mut *sums {
                    *sum = simd.multiply_add_float(a, *sum, b);
                }
            }
        }
        let products = self.rounds * 8 * sums.len() * S::ROWS;
        black_box(all);
        products as u64
    }
}

struct Bf16 {
    rounds: usize,
}

impl Kernel for Bf16 {
    type Output = u64;

    const DOTS_BF16: bool = true;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> u64 {
        // Each pair is 0.5 and 0.25.
        let (a, b) = (
            simd.splat_int(0x3e80_3f00),
            simd.splat_int(black_box(0x3e80_3f00)),
        );
        let mut all = [simd.splat_float(0.0); SUMS];
        let sums = &mut all[..const { sums::<S>() }];
        for _ in 0..self.rounds {
            for _ in 0..8 {
                for sum in &mut *sums {
                    *sum = simd.dot_bf16(a, b, *sum);
                }
            }
        }
        let products = self.rounds * 8 * sums.len() * 2 * S::ROWS;
        black_box(all);
        products as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_counts() {
        let mut bytes = vec![0; 4096 + 24];
        let before = read(&bytes);
        for at in [0, 7, 255, 256, 4095, 4119] {
            bytes[at] ^= 1;
            assert_ne!(read(&bytes), before, "byte {at}");
            bytes[at] ^= 1;
        }
    }

    #[test]
    fn products_are_counted() {
        for cpu in Cpu::all() {
            assert_eq!(int8_products(cpu, 3), 3 * int8_products(cpu, 1));
            assert_eq!(float_products(cpu, 3), 3 * float_products(cpu, 1));
            let in_word = 1 + u64::from(cpu.dots_bf16());
            assert_eq!(bf16_products(cpu, 3), in_word * float_products(cpu, 3));
        }
    }
}
