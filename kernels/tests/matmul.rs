//! Matrix products: every format × every instruction set of this CPU × shapes × column counts has
//! the bits of the scalar reference, and is as near to exact arithmetic as the rounding of the
//! activations allows.

use yareta_kernels::{Activations, Cpu, Format, Isa, MatMul, Matrix, Prepare};

/// A seeded generator of pseudo-random numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in −1 .. 1.
    fn float(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}

/// Random blocks whose weights are finite and of everyday size.
fn blocks(format: Format, count: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(count * format.block_bytes());
    let mut block = vec![0; format.block_bytes()];
    let mut weights = vec![0.0; format.block_len()];
    while bytes.len() < count * format.block_bytes() {
        if format.is_float() {
            // A short mantissa is exact in every float format.
            let value = (random.float() * 64.0).round() / 64.0;
            match format {
                Format::F32 => block.copy_from_slice(&value.to_le_bytes()),
                Format::F16 => block.copy_from_slice(&half::f16::from_f32(value).to_le_bytes()),
                _ => block.copy_from_slice(&half::bf16::from_f32(value).to_le_bytes()),
            }
        } else {
            block.fill_with(|| random.bits() as u8);
        }
        format.decode(&block, &mut weights);
        let largest =
            weights.iter().fold(
                0.0f32,
                |a, w| if w.is_nan() { w.abs() } else { a.max(w.abs()) },
            );
        if format.is_float() || (largest > 1e-2 && largest < 1e2) {
            bytes.extend_from_slice(&block);
        }
    }
    bytes
}

/// Columns of very different sizes, with an outlier in each and one column of zeros.
fn columns(count: usize, len: usize, random: &mut Random) -> Vec<f32> {
    let mut x: Vec<f32> = (0..count * len).map(|_| random.float()).collect();
    for (c, column) in x.chunks_exact_mut(len).enumerate() {
        column[c % len] *= 8.0;
        column.iter_mut().for_each(|x| {
            *x *= if c == 2 {
                0.0
            } else {
                1.5f32.powi(c as i32 % 9)
            }
        });
    }
    x
}

/// Bytes of first-level caches for which kernels do different things. On 64-bit Arm they only ask for other
/// memory, and every product is computed under emulation.
const CACHES: &[usize] = match cfg!(target_arch = "aarch64") {
    true => &[32 << 10],
    false => &[32 << 10, 48 << 10],
};

/// Every instruction set of this CPU with each of the caches.
fn cpus() -> impl Iterator<Item = (Cpu, usize)> {
    Cpu::all().flat_map(|cpu| CACHES.iter().map(move |&cache| (cpu, cache)))
}

fn product(cpu: Cpu, cache: usize, weights: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let count = x.len() / weights.cols();
    let mut activations = Activations::with_capacity(cpu, count, weights.cols());
    Prepare::new(x, weights.cols(), weights.precision(), &mut activations).work();
    let mut out = vec![f32::NAN; count * weights.rows()];
    MatMul::new(weights, &activations, &mut out)
        .with_first_level_cache(cache)
        .work();
    out
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// The largest distance from the exact result that rounding the activations can cause: half a step
/// of the activation scale for each weight (quantized formats), where the scale is at most two
/// sixteenths above what the largest value needs and the largest value may be cut by a sixteenth; half
/// a unit of the last of eight bits, at most 2⁻⁸ of the activation, for each weight (BF16); and one
/// rounding of the sum for each term.
fn budget(format: Format, weights: &[f32], x: &[f32]) -> f64 {
    let mut budget = 0.0;
    const GRAIN: usize = 32;
    for (weights, x) in weights.chunks(GRAIN).zip(x.chunks(GRAIN)) {
        let largest = x.iter().fold(0.0f64, |a, &x| a.max(f64::from(x).abs()));
        let step = if format.is_float() {
            0.0
        } else {
            largest / 127.0
        };
        let step = step * (1.0 + 2.0 / 16.0);
        for (&w, &x) in weights.iter().zip(x) {
            let cut = if format.is_float() || f64::from(x).abs() < 0.9 * largest {
                0.0
            } else {
                largest / 16.0
            };
            budget += f64::from(w).abs() * cut;
            let (w, x) = (f64::from(w).abs(), f64::from(x).abs());
            // A minimum and a scale are each subtracted from something up to twice the largest
            // weight, so terms are larger than weights: 8 covers formats with minimums.
            if format == Format::BF16 {
                budget += w * x * 2.0f64.powi(-8);
            }
            budget += w * step * 0.5001 + 8.0 * w * x * f64::from(f32::EPSILON) * 64.0;
        }
        let sum: f64 = x.iter().map(|&x| f64::from(x).abs()).sum();
        let widest = weights
            .iter()
            .fold(0.0f64, |a, &w| a.max(f64::from(w).abs()));
        budget += widest * sum * f64::from(f32::EPSILON) * 8.0;
    }
    budget
}

/// The product, which has the same bits on every instruction set and with every cache.
fn agreed(matrix: Matrix<'_>, x: &[f32]) -> Vec<f32> {
    let scalar = Cpu::with(Isa::Scalar).expect("scalar is always there");
    let expected = product(scalar, CACHES[0], matrix, x);
    for (cpu, cache) in cpus() {
        let found = product(cpu, cache, matrix, x);
        let (format, rows, len) = (matrix.format(), matrix.rows(), matrix.cols());
        let (count, isa) = (x.len() / len, cpu.isa());
        assert_eq!(
            bits(&found),
            bits(&expected),
            "{format} {rows} × {len}, {count} columns, {isa}, a cache of {cache} bytes"
        );
    }
    expected
}

#[test]
fn every_format_agrees_on_every_instruction_set() {
    let mut random = Random(7);
    for format in Format::ALL {
        let lengths: &[usize] = match format.block_len() {
            // With one column, rows that do not fit the first-level cache are read another way.
            1 => &[1, 7, 172, 11300, 256, 300],
            32 => &[32, 288, 1056],
            _ => &[256, 1280],
        };
        for &len in lengths {
            for rows in [1, 5, 16, 35] {
                let blocks = blocks(format, rows * len / format.block_len(), &mut random);
                let matrix = Matrix::new(format, rows, len, &blocks).expect("whole blocks");
                // So many that scales are looked up, once for each format: emulated, they take long.
                // Nine are panels of five and four, thirteen of seven and six.
                let many = if rows == 35 && len >= 256 && Some(&len) == lengths.last() {
                    67
                } else {
                    13
                };
                for count in (1..10).chain([many]) {
                    let x = columns(count, len, &mut random);
                    check_distance(matrix, &x, &agreed(matrix, &x));
                }
            }
        }
    }
}

#[test]
fn many_columns_agree_whatever_the_rows() {
    let mut random = Random(17);
    for format in Format::ALL {
        // The last block of 256 is a part of one, where a format allows it.
        let len = match format.block_len() {
            1 => 300,
            32 => 288,
            _ => 512,
        };
        // Fewer rows than a vector has lanes; claims of three panels of rows of AVX-512, and at last of
        // one and a half.
        for rows in [3, 280] {
            let blocks = blocks(format, rows * len / format.block_len(), &mut random);
            let matrix = Matrix::new(format, rows, len, &blocks).expect("whole blocks");
            let x = columns(40, len, &mut random);
            agreed(matrix, &x);
        }
    }
}

/// Formats of which one column is multiplied with rows in the order of the file, by AVX-512.
const IN_ORDER: [Format; 5] = [
    Format::Q4_0,
    Format::Q8_0,
    Format::Q4_K,
    Format::Q5_K,
    Format::Q6_K,
];

#[test]
fn sums_of_the_largest_codes_agree() {
    let mut random = Random(29);
    let (rows, len) = (19, 1024);
    for format in IN_ORDER {
        let codes = match format {
            Format::Q4_0 | Format::Q8_0 => 2..format.block_bytes(),
            Format::Q6_K => 0..192,
            _ => 16..format.block_bytes(),
        };
        // All bits of codes, and none; the largest and the smallest signed bytes.
        for byte in [0xff, 0x00, 0x7f, 0x80] {
            let mut blocks = blocks(format, rows * len / format.block_len(), &mut random);
            for block in blocks.chunks_exact_mut(format.block_bytes()) {
                block[codes.clone()].fill(byte);
                if format == Format::Q6_K {
                    // And the largest scales, which are multiplied with sums in whole numbers.
                    block[192..208].fill(0x80);
                }
            }
            let matrix = Matrix::new(format, rows, len, &blocks).expect("whole blocks");
            // Every code of the column is the largest, with either sign, and with both.
            for x in [[3.0, 3.0], [-3.0, -3.0], [3.0, -3.0]] {
                let x: Vec<f32> = x.into_iter().cycle().take(len).collect();
                check_distance(matrix, &x, &agreed(matrix, &x));
            }
        }
    }
}

#[test]
fn rows_read_in_the_order_of_the_file_agree() {
    let mut random = Random(23);
    for format in IN_ORDER {
        // Blocks of 256: one, some, an odd number, more than are read of a row before the next row's of
        // K-quants, of any format, and so many that they are read in full segments.
        let shapes = [(16, 1), (47, 8), (35, 43), (19, 83), (17, 261), (16, 1030)];
        for (rows, blocks_of_row) in shapes {
            let len = 256 * blocks_of_row;
            let blocks = blocks(format, rows * len / format.block_len(), &mut random);
            let matrix = Matrix::new(format, rows, len, &blocks).expect("whole blocks");
            let x = columns(1, len, &mut random);
            check_distance(matrix, &x, &agreed(matrix, &x));
        }
    }
}

/// Checks results against exact arithmetic on the decoded weights.
fn check_distance(matrix: Matrix<'_>, x: &[f32], found: &[f32]) {
    let mut weights = vec![0.0; matrix.cols()];
    for r in 0..matrix.rows() {
        matrix.format().decode(matrix.row(r), &mut weights);
        for (c, x) in x.chunks_exact(matrix.cols()).enumerate() {
            let exact: f64 = weights
                .iter()
                .zip(x)
                .map(|(&w, &x)| f64::from(w) * f64::from(x))
                .sum();
            let distance = (f64::from(found[c * matrix.rows() + r]) - exact).abs();
            let budget = budget(matrix.format(), &weights, x);
            assert!(
                distance <= budget,
                "{} row {r} column {c}: {distance} from {exact}, budget {budget}",
                matrix.format()
            );
        }
    }
}

/// The product of a row of floats with a column in the order that the kernels promise: in each block
/// of 256, sixteen sums, each of every sixteenth product, which are added 8, 4, 2 and 1 apart; zeros
/// follow the last. With BF16 activations are rounded, and a sum is of every sixteenth pair of
/// products, the second of a pair first.
fn in_order(format: Format, weights: &[f32], x: &[f32]) -> f32 {
    const LANES: usize = 16;
    let unit = match format {
        Format::BF16 => 2 * LANES,
        _ => LANES,
    };
    let mut y = 0.0;
    for (weights, x) in weights.chunks(256).zip(x.chunks(256)) {
        let mut sums = [0.0f32; LANES];
        for (weights, x) in weights.chunks(unit).zip(x.chunks(unit)) {
            let mut add = |j: usize, k: usize| {
                let (w, x) = match k < x.len() {
                    true => (weights[k], x[k]),
                    false => (0.0, 0.0),
                };
                let x = match format {
                    Format::BF16 => rounded(x),
                    _ => x,
                };
                sums[j] = w.mul_add(x, sums[j]);
            };
            for j in 0..LANES {
                if format == Format::BF16 {
                    add(j, 2 * j + 1);
                    add(j, 2 * j);
                } else {
                    add(j, j);
                }
            }
        }
        let mut apart = LANES / 2;
        while apart > 0 {
            for j in 0..apart {
                sums[j] += sums[j + apart];
            }
            apart /= 2;
        }
        y += sums[0];
    }
    y
}

/// The nearest bfloat16; zero where an activation is smaller than any that matters.
fn rounded(x: f32) -> f32 {
    match x.abs() {
        magnitude if magnitude < 2.0f32.powi(-72) => 0.0f32.copysign(x),
        _ => half::bf16::from_f32(x).to_f32(),
    }
}

/// Checks products of floats of any bits against [`in_order`].
fn check_floats(format: Format, (rows, len): (usize, usize), bytes: &[u8], x: &[f32]) {
    let matrix = Matrix::new(format, rows, len, bytes).expect("whole rows");
    let mut expected = vec![0.0; x.len() / len * rows];
    let mut weights = vec![0.0; len];
    for r in 0..rows {
        format.decode(matrix.row(r), &mut weights);
        for (c, x) in x.chunks_exact(len).enumerate() {
            expected[c * rows + r] = in_order(format, &weights, x);
        }
    }
    for (cpu, cache) in cpus() {
        let found = product(cpu, cache, matrix, x);
        for (i, (found, expected)) in found.iter().zip(&expected).enumerate() {
            let same = found.to_bits() == expected.to_bits();
            assert!(
                same || found.is_nan() && expected.is_nan(),
                "{format} {rows} × {len}, result {i} of {} columns, {}: {found} for {expected}",
                x.len() / len,
                cpu.isa()
            );
        }
    }
}

const FLOATS: [Format; 3] = [Format::F32, Format::F16, Format::BF16];

#[test]
fn floats_are_multiplied_in_the_promised_order() {
    let mut random = Random(17);
    for format in FLOATS {
        for shape in [(1, 40), (3, 272), (18, 15), (18, 300), (35, 256)] {
            let bytes = blocks(format, shape.0 * shape.1, &mut random);
            for count in (1..=17).chain([32, 33, 41]) {
                let x = columns(count, shape.1, &mut random);
                check_floats(format, shape, &bytes, &x);
            }
        }
    }
}

#[test]
fn zeros_infinities_and_what_is_not_a_number_keep_their_sign_and_kind() {
    let mut random = Random(19);
    let special = [0.0, -0.0, 1.0, f32::INFINITY, f32::NAN, 1e-45, -1e-45];
    for format in FLOATS {
        for kinds in [2, 3, 4, 5, 7] {
            let mut any = || special[random.bits() as usize % kinds];
            // Lengths that end within a vector and within a block, of one sign as well.
            for (rows, len) in [(17, 1), (17, 33), (16, 290)] {
                let mut bytes = Vec::new();
                for _ in 0..rows * len {
                    let value = any();
                    match format {
                        Format::F32 => bytes.extend(value.to_le_bytes()),
                        Format::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
                        _ => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
                    }
                }
                for count in [1, 2, 5, 8, 33] {
                    let x: Vec<f32> = (0..count * len).map(|_| any()).collect();
                    check_floats(format, (rows, len), &bytes, &x);
                }
            }
        }
    }
}

/// BF16 weights, and activations, of sizes up to which an instruction that flushes what is smaller
/// than a normal float may be used, on both sides of the bound and far below it; where they cancel,
/// sums are as small as can be.
#[test]
fn bfloat16_of_any_size_are_multiplied_as_promised() {
    let mut random = Random(23);
    // Exponents of weights and of activations: products around the smallest normal float, weights
    // around the bound, weights that are no normal floats, of any size, and all.
    let exponents = [
        (-41..-38, -74..-71),
        (-42..-36, -60..20),
        (-140..-120, -20..100),
        (-127..128, -3..3),
        (-133..128, -133..128),
    ];
    for (weight, activation) in exponents {
        for (rows, len) in [(1, 257), (16, 512), (35, 300)] {
            let mut any = |exponents: &std::ops::Range<i32>| {
                let span = (exponents.end - exponents.start) as u64;
                let exponent = exponents.start + (random.bits() % span) as i32;
                // Few digits, so that some sums are zero or nearly so.
                let digits = 1.0 + (random.bits() % 4) as f64 / 4.0;
                let sign = [1.0, -1.0][random.bits() as usize % 2];
                (sign * digits * 2.0f64.powi(exponent)) as f32
            };
            // One weight in many, or all of them.
            for rare in [1, 200] {
                let mut bytes = Vec::new();
                for i in 0..rows * len {
                    let value = match i % rare {
                        0 => any(&weight),
                        _ => any(&(-8..0)),
                    };
                    bytes.extend(half::bf16::from_f32(value).to_le_bytes());
                }
                for count in [1, 2, 5, 8, 33] {
                    let x: Vec<f32> = (0..count * len).map(|_| any(&activation)).collect();
                    check_floats(Format::BF16, (rows, len), &bytes, &x);
                }
            }
        }
    }
}

#[test]
fn columns_do_not_depend_on_their_neighbours() {
    let mut random = Random(11);
    for format in Format::ALL {
        let len = 1024;
        let blocks = blocks(format, 40 * len / format.block_len(), &mut random);
        let matrix = Matrix::new(format, 40, len, &blocks).expect("whole blocks");
        let x = columns(75, len, &mut random);
        for cpu in Cpu::all() {
            let together = product(cpu, CACHES[0], matrix, &x);
            for (c, x) in x.chunks_exact(len).enumerate() {
                let alone = product(cpu, CACHES[CACHES.len() - 1], matrix, x);
                let isa = cpu.isa();
                assert_eq!(
                    bits(&together[c * 40..][..40]),
                    bits(&alone),
                    "{format}, column {c}, {isa}"
                );
            }
        }
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let mut random = Random(13);
    let (rows, len, count) = (1000, 512, 5);
    let blocks = blocks(Format::Q4_K, rows * len / 256, &mut random);
    let matrix = Matrix::new(Format::Q4_K, rows, len, &blocks).expect("whole blocks");
    for count in [1, count] {
        let x = columns(count, len, &mut random);
        let expected = product(Cpu::detect(), CACHES[0], matrix, &x);
        for threads in [2, 3, 7] {
            let mut activations = Activations::with_capacity(Cpu::detect(), count, len);
            {
                let prepare = Prepare::new(&x, len, matrix.precision(), &mut activations);
                std::thread::scope(|scope| {
                    (0..threads).for_each(|_| drop(scope.spawn(|| prepare.work())));
                });
            }
            let mut out = vec![f32::NAN; count * rows];
            {
                let mut job = MatMul::new(matrix, &activations, &mut out);
                // What comes next is only asked for.
                job.followed_by((threads != 3).then_some(matrix));
                std::thread::scope(|scope| {
                    (0..threads).for_each(|_| drop(scope.spawn(|| job.work())));
                });
            }

            assert_eq!(
                bits(&out),
                bits(&expected),
                "{threads} threads, {count} columns"
            );
        }
    }
}

#[test]
fn what_is_not_a_number_stays_so() {
    let blocks = vec![0x11; Format::Q8_0.block_bytes() * 8];
    let matrix = Matrix::new(Format::Q8_0, 1, 256, &blocks).expect("whole blocks");
    for poison in [f32::NAN, f32::INFINITY] {
        let mut x = vec![1.0; 256];
        x[100] = poison;
        for cpu in Cpu::all() {
            assert!(
                !product(cpu, CACHES[0], matrix, &x)[0].is_finite(),
                "{poison} on {}",
                cpu.isa()
            );
        }
    }
}
