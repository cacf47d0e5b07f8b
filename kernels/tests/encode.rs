//! Encoders: near to their input, indifferent to the machine, and safe with any floats.

use yareta_kernels::Format;

/// Root mean square error that a format may have on Gaussian weights, relative to the weights'
/// own root mean square, and the digest of the bytes that these weights become.
///
/// The errors are measured ones, rounded up by about 1 %. Beside each is what the ggml library
/// has on the same weights with all importances 1 (as of its version 0.25; without importances
/// its errors are up to 20 % larger). Any Gaussian has a least error at a number of levels, which
/// is what keeps the figures from being smaller: three levels cannot do better than 0.436 over a
/// whole tensor, sixteen uneven ones than 0.097; scales per block of weights are what beats it.
const BUDGETS: [(Format, f64, u64); 26] = [
    (Format::F32, 0.0, 0xc9d5_69c6_de3f_5ac5),
    (Format::F16, 0.00021, 0x5010_4947_3b7b_2ea3), // half a unit in the 11th bit, at most 0.00049
    (Format::BF16, 0.0017, 0x44c9_9398_ec59_e83c), // half a unit in the 8th bit, at most 0.0039
    (Format::Q4_0, 0.0800, 0x4d60_50a2_877b_2b65), // ggml 0.0801
    (Format::Q4_1, 0.0685, 0xc736_8e12_48fb_4a60), // ggml 0.0690
    (Format::Q5_0, 0.0397, 0xd884_54af_7de4_cc7d), // ggml 0.0398
    (Format::Q5_1, 0.0333, 0x321d_7c05_ecc4_64df), // ggml 0.0333
    (Format::Q8_0, 0.0054, 0xf3ba_7ee3_dd78_779f), // ggml 0.0053
    (Format::Q2_K, 0.2590, 0x8152_38b8_2f84_5654), // ggml 0.2656
    (Format::Q3_K, 0.1425, 0xb16e_23c9_66da_9c66), // ggml 0.1426
    (Format::Q4_K, 0.0690, 0xdee8_7f04_272f_a451), // ggml 0.0698
    (Format::Q5_K, 0.0344, 0x8aa4_1fe6_f275_a3be), // ggml 0.0348
    (Format::Q6_K, 0.0165, 0x283f_582d_4e0b_97a5), // ggml 0.0171
    (Format::Q8_K, 0.0068, 0x1d8e_4e99_484e_469d), // one scale for eight times as many weights as Q8_0
    (Format::IQ2_XXS, 0.3280, 0xf260_cadc_2aa3_cdc7), // ggml 0.3410
    (Format::IQ2_XS, 0.2860, 0x5e60_ebfd_754d_932b), // ggml 0.2984
    (Format::IQ3_XXS, 0.1775, 0xcd35_df2a_ecbb_92dc), // ggml 0.1808
    (Format::IQ1_S, 0.4440, 0xcd10_3179_6a5d_aa3b), // ggml 0.4829
    (Format::IQ4_NL, 0.0731, 0x66fa_7a37_9055_7032), // ggml 0.0741
    (Format::IQ3_S, 0.1288, 0xfe12_18da_2591_eff9), // ggml 0.1351
    (Format::IQ2_S, 0.2385, 0xf461_7649_92e2_b803), // ggml 0.2469
    (Format::IQ4_XS, 0.0737, 0x51be_a7db_5b4e_b850), // ggml 0.0747
    (Format::IQ1_M, 0.4130, 0x575d_c555_15fb_1b55), // ggml 0.4483
    (Format::TQ1_0, 0.4345, 0x794d_f3ae_b5e6_1500), // ggml 0.7955, which rounds to the largest weight
    (Format::TQ2_0, 0.4345, 0x94e8_26fc_f929_1264), // ggml 0.7955
    (Format::MXFP4, 0.1115, 0x459a_34c3_3a69_0ffd), // ggml 0.1130
];

#[test]
fn gaussian_weights_stay_in_budget() {
    let weights = gaussian(65_536, 1);
    for format in Format::ALL {
        let Some(&(_, budget, _)) = BUDGETS.iter().find(|row| row.0 == format) else {
            panic!("no budget for {format}");
        };
        let found = relative_error(&weights, &through(format, &weights, None), None);
        assert!(found <= budget, "{format}: {found:.5} above {budget}");
        assert!(
            found >= 0.9 * budget,
            "{format}: {found:.5}, budget {budget} is loose"
        );
    }
}

/// The same weights become the same bytes on every machine.
#[test]
fn bytes_do_not_depend_on_the_machine() {
    let weights = gaussian(4096, 2);
    let importance: Vec<f32> = uniform(4096, 3).map(|u| u * u).collect();
    let found = BUDGETS.map(|(format, _, _)| {
        let bytes = encode(format, &weights, Some(&importance));
        (format, fnv(&bytes))
    });
    let wrong: Vec<String> = found
        .iter()
        .zip(BUDGETS)
        .filter(|(found, row)| found.1 != row.2)
        .map(|(found, _)| format!("{} 0x{:016x}", found.0, found.1))
        .collect();
    assert!(
        wrong.is_empty(),
        "found other digests:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn importance_moves_the_error_to_where_it_matters_less() {
    let weights = gaussian(8192, 4);
    let importance: Vec<f32> = uniform(8192, 5)
        .map(|u| if u < 0.1 { 20.0 } else { u })
        .collect();
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        let without = through(format, &weights, None);
        let with = through(format, &weights, Some(&importance));
        let without = relative_error(&weights, &without, Some(&importance));
        let with = relative_error(&weights, &with, Some(&importance));
        // The 8-bit formats do not look at importances.
        let gain = if matches!(format, Format::Q8_0 | Format::Q8_K) {
            1.0
        } else {
            0.99
        };
        assert!(
            with <= gain * without,
            "{format}: {with:.5} with, {without:.5} without"
        );
    }
}

#[test]
fn weights_that_a_format_can_hold_come_back_exactly() {
    for format in Format::ALL {
        let weights = representable(format);
        let back = through(format, &weights, None);
        // Two scales multiply in these, several pairs of which come near to what there was.
        let nearly = matches!(format.block_len(), 256)
            && !matches!(format, Format::Q8_K | Format::TQ1_0 | Format::TQ2_0);
        if nearly {
            let found = relative_error(&weights, &back, None);
            // Q2_K has the coarsest scales: at most half a step of 15, 0.03.
            assert!(found < 0.025, "{format}: {found:.5}");
        } else {
            assert_eq!(weights, back, "{format}");
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for format in Format::ALL {
        for zero in [0.0, -0.0] {
            let back = through(format, &[zero; 512], None);
            assert!(back.iter().all(|&x| x == 0.0), "{format}");
        }
    }
}

#[test]
fn any_finite_weights_give_finite_weights() {
    let sizes = [
        f32::MAX,
        3e38,
        1e30,
        1e10,
        1e6,
        7e4,
        1.0,
        1e-3,
        1e-6,
        1e-8,
        1e-13,
        1e-30,
        1e-38,
        1e-45,
    ];
    let shapes = [
        vec![1.0; 512],
        vec![-1.0; 512],
        (0..512)
            .map(|i| if i % 2 == 0 { 1.0 } else { -1.0 })
            .collect(),
        (0..512).map(|i| if i == 77 { -1.0 } else { 0.0 }).collect(),
        (0..512)
            .map(|i| if i == 300 { 1.0 } else { 1e-5 })
            .collect(),
        gaussian(512, 6)
            .iter()
            .map(|x| (x * 20.0).clamp(-1.0, 1.0))
            .collect(),
    ];
    for format in Format::ALL {
        for size in sizes {
            for shape in &shapes {
                let weights: Vec<f32> = shape.iter().map(|x| x * size).collect();
                let back = through(format, &weights, None);
                assert!(back.iter().all(|x| x.is_finite()), "{format}, {size:e}");
                // A block of 16-bit scales does not grow what it cannot hold.
                let most = back.iter().fold(0.0f32, |most, x| most.max(x.abs()));
                assert!(most <= 2.0 * size + 2e-5, "{format}, {size:e}: {most:e}");
            }
        }
    }
}

#[test]
fn constants_come_back_nearly() {
    for format in Format::ALL {
        for constant in [0.02, -0.7, 3.0] {
            let back = through(format, &[constant; 256], None);
            // Twice half a unit of a 16-bit scale, and half a step of the 63 that group scales
            // have. The levels of MXFP4 are up to a half apart and its scale is a power of two.
            let tolerance = if format == Format::MXFP4 { 0.2 } else { 0.002 };
            for x in back {
                assert!(
                    (x / constant - 1.0).abs() <= tolerance,
                    "{format}, {constant}: {x}"
                );
            }
        }
    }
}

#[test]
fn what_is_not_a_number_does_no_harm() {
    let mut weights = gaussian(512, 7);
    weights[3] = f32::NAN;
    weights[100] = f32::INFINITY;
    weights[300] = f32::NEG_INFINITY;
    let mut importance = vec![1.0; 512];
    importance[0] = f32::NAN;
    importance[1] = f32::INFINITY;
    importance[2] = -1.0;
    let none = vec![0.0; 512];
    for format in Format::ALL.into_iter().filter(|format| !format.is_float()) {
        for importance in [None, Some(&importance[..]), Some(&none)] {
            let back = through(format, &weights, importance);
            assert!(back.iter().all(|x| x.is_finite()), "{format}");
        }
    }
}

#[test]
fn float_formats_round_to_even_and_saturate() {
    let one = |format, x| through(format, &[x], None)[0];
    assert_eq!(one(Format::F16, 1.0 + 1.0 / 2048.0), 1.0);
    assert_eq!(one(Format::F16, 1.0 + 3.0 / 2048.0), 1.0 + 4.0 / 2048.0);
    assert_eq!(one(Format::F16, 1e6), 65504.0);
    assert_eq!(one(Format::F16, f32::NEG_INFINITY), f32::NEG_INFINITY);
    assert_eq!(one(Format::BF16, 1.0 + 1.0 / 256.0), 1.0);
    assert_eq!(one(Format::BF16, 1.0 + 3.0 / 256.0), 1.0 + 4.0 / 256.0);
    assert_eq!(one(Format::BF16, f32::MAX), f32::from_bits(0x7f7f_0000));
    for format in [Format::F32, Format::F16, Format::BF16] {
        assert!(one(format, f32::NAN).is_nan());
    }
}

/// Random blocks, decoded. Their scales are ordinary, and each block has its largest code.
fn representable(format: Format) -> Vec<f32> {
    let blocks = if format.is_float() { 512 } else { 8 };
    let mut bytes: Vec<u8> = uniform(blocks * format.block_bytes(), 8)
        .map(|u| (u * 256.0) as u8)
        .collect();
    // The high byte of a half of 2^-8 or so.
    const HALF: u8 = 0x1c;
    // Encoders do not use code −128.
    let no_minimum = |code: &mut u8| *code -= u8::from(*code == 128);
    for block in bytes.chunks_exact_mut(format.block_bytes()) {
        match format {
            Format::F32 | Format::F16 | Format::BF16 => block[format.block_bytes() - 1] = 0x3c,
            Format::Q8_0 => {
                (block[1], block[2]) = (HALF, 127);
                block[3..].iter_mut().for_each(no_minimum);
            }
            Format::Q8_K => {
                block[..4].copy_from_slice(&0.01f32.to_le_bytes());
                block[4] = 127;
                block[5..260].iter_mut().for_each(no_minimum);
            }
            Format::Q4_1 | Format::Q5_1 => {
                (block[1], block[3]) = (HALF, HALF | 0x80);
                let last = block.len() - 1;
                (block[last - 1], block[last]) = (0xff, 0);
                if format == Format::Q5_1 {
                    (block[5], block[7]) = (0, 0xff);
                }
            }
            Format::Q2_K => (block[81], block[83]) = (HALF, HALF),
            Format::Q3_K => block[109] = HALF,
            Format::Q4_K | Format::Q5_K => (block[1], block[3]) = (HALF, HALF),
            Format::Q6_K => block[209] = HALF,
            Format::TQ1_0 => block[53] = HALF,
            Format::TQ2_0 => {
                // Encoders do not use code 3.
                let no_three = |byte: &mut u8| *byte &= !(*byte << 1) | 0x55;
                block[..64].iter_mut().for_each(no_three);
                block[65] = HALF;
            }
            Format::IQ1_M => (0..4)
                .for_each(|i| block[49 + 2 * i] = block[49 + 2 * i] & 15 | [0, 0, 0xc0, 0x10][i]),
            Format::MXFP4 => (block[0], block[1]) = (120, 0x17),
            _ => block[1] = HALF,
        }
    }
    let mut weights = vec![0.0; blocks * format.block_len()];
    format.decode(&bytes, &mut weights);
    weights
}

fn encode(format: Format, weights: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(weights.len()).unwrap()];
    format.encode(weights, importance, &mut bytes);
    bytes
}

fn through(format: Format, weights: &[f32], importance: Option<&[f32]>) -> Vec<f32> {
    let mut back = vec![0.0; weights.len()];
    format.decode(&encode(format, weights, importance), &mut back);
    back
}

/// Root of the weighted mean square of the differences over that of `weights`.
fn relative_error(weights: &[f32], back: &[f32], importance: Option<&[f32]>) -> f64 {
    let (mut error, mut square) = (0.0, 0.0);
    for (i, (&x, &y)) in weights.iter().zip(back).enumerate() {
        let w = importance.map_or(1.0, |importance| f64::from(importance[i]));
        error += w * (f64::from(x) - f64::from(y)).powi(2);
        square += w * f64::from(x).powi(2);
    }
    (error / square).sqrt()
}

/// Sums of twelve uniform numbers: nearly Gaussian, and the same on every machine.
fn gaussian(count: usize, seed: u64) -> Vec<f32> {
    let mut uniform = uniform(usize::MAX, seed);
    (0..count)
        .map(|_| (uniform.by_ref().take(12).sum::<f32>() - 6.0) * 0.02)
        .collect()
}

/// Uniform numbers from 0 to 1, from SplitMix64.
fn uniform(count: usize, seed: u64) -> impl Iterator<Item = f32> {
    let mut state = seed;
    (0..count).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1u32 << 24) as f32
    })
}

/// The 64-bit FNV-1a digest.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |digest, &byte| {
        (digest ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
