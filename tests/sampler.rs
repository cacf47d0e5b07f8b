//! The sampler as its users see it: validation, reproducibility, odd logits, and no allocation.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use yareta::{Error, Sampler};

const LN_2: f32 = std::f32::consts::LN_2;

#[test]
fn options_that_cannot_be_are_named() {
    let new = || Sampler::new(1);
    for (option, sampler) in [
        ("temperature", new().temperature(f32::NAN)),
        ("temperature", new().temperature(-0.1)),
        ("temperature", new().temperature(f32::INFINITY)),
        ("top_p", new().top_p(1.1)),
        ("top_p", new().top_p(f32::NAN)),
        ("min_p", new().min_p(-0.5)),
        ("typical", new().typical(2.0)),
        ("repetition_penalty", new().repetition_penalty(0.0, 64)),
        ("repetition_penalty", new().repetition_penalty(f32::NAN, 64)),
        ("frequency_penalty", new().frequency_penalty(f32::INFINITY)),
        ("presence_penalty", new().presence_penalty(f32::NAN)),
        ("logit_bias", new().logit_bias(0, f32::NAN)),
        ("logit_bias", new().logit_bias(0, f32::INFINITY)),
    ] {
        for error in [
            sampler.check().unwrap_err(),
            sampler.clone().sample(&[1.0, 2.0]).unwrap_err(),
        ] {
            match error {
                Error::InvalidOption { option: found, .. } => assert_eq!(found, option),
                other => panic!("{other}"),
            }
        }
    }
}

#[test]
fn a_bias_outside_the_vocabulary_names_the_token() {
    let error = Sampler::new(1).logit_bias(7, 1.0).sample(&[0.0; 7]);
    assert!(matches!(
        error,
        Err(Error::Token {
            token: 7,
            vocabulary: 7
        })
    ));
}

#[test]
fn logits_without_a_possible_token_are_an_error() {
    for mut sampler in [Sampler::greedy(), Sampler::new(3), Sampler::new(3).top_k(1)] {
        for logits in [&[][..], &[f32::NAN; 3], &[f32::NEG_INFINITY; 2]] {
            assert!(matches!(sampler.sample(logits), Err(Error::Logits { .. })));
        }
    }
}

#[test]
fn odd_logits_are_sampled_around() {
    let odd = [f32::NAN, f32::NEG_INFINITY, 1.0, f32::INFINITY, f32::MIN];
    let chains = [
        Sampler::greedy(),
        Sampler::new(1),
        Sampler::new(1).top_k(3).typical(0.5).top_p(0.5).min_p(0.1),
        Sampler::new(1).typical(0.3).temperature(1e-30),
        Sampler::new(1).temperature(1e30).min_p(1.0),
    ];
    for mut sampler in chains {
        // the infinite logit outweighs everything but at an absurd temperature, where min-p acts
        assert_eq!(sampler.sample(&odd).unwrap(), 3);
    }
}

#[test]
fn greedy_takes_the_highest_after_penalties() {
    let mut sampler = Sampler::greedy().repetition_penalty(4.0, 8);
    let logits = [1.0, 3.0, 2.0];
    assert_eq!(sampler.sample(&logits).unwrap(), 1);
    sampler.accept(1);
    assert_eq!(sampler.sample(&logits).unwrap(), 2);
    sampler.reset();
    assert_eq!(sampler.sample(&logits).unwrap(), 1);
}

#[test]
fn draws_follow_the_probabilities() {
    // 4/7, 2/7, 1/7
    let logits = [2.0 * LN_2, LN_2, 0.0];
    let mut sampler = Sampler::new(5);
    let mut counts = [0.0; 3];
    for _ in 0..70_000 {
        counts[sampler.sample(&logits).unwrap() as usize] += 1.0;
    }
    for (count, expected) in counts.into_iter().zip([40_000.0, 20_000.0, 10_000.0]) {
        // the standard deviation of a count is below sqrt(70000 / 4) = 132
        assert!(f64::abs(count - expected) < 600.0, "{counts:?}");
    }
}

#[test]
fn temperature_acts_after_truncation() {
    // probabilities 2/3 and 1/3: top-p 0.6 keeps the first alone, however hot the draw is
    let logits = [LN_2, 0.0];
    let mut sampler = Sampler::new(5).top_p(0.6).temperature(100.0);
    assert!((0..1000).all(|_| sampler.sample(&logits).unwrap() == 0));
    // at temperature 1/2 the odds of 2 to 1 become 4 to 1
    let mut sampler = Sampler::new(5).temperature(0.5);
    let first = (0..50_000)
        .filter(|_| sampler.sample(&logits).unwrap() == 0)
        .count();
    // the standard deviation is sqrt(50000 · 0.8 · 0.2) = 89
    assert!(first.abs_diff(40_000) < 400, "{first}");
}

#[test]
fn seeds_clones_resets_and_states_repeat() {
    let logits: Vec<f32> = (0..1000).map(|i| ((i * 37) % 101) as f32 * 0.05).collect();
    let draw = |sampler: &mut Sampler| -> Vec<u32> {
        (0..50)
            .map(|_| {
                let token = sampler.sample(&logits).unwrap();
                sampler.accept(token);
                token
            })
            .collect()
    };
    let chain = |seed| {
        Sampler::new(seed)
            .top_k(200)
            .typical(0.9)
            .top_p(0.9)
            .min_p(0.01)
            .repetition_penalty(1.2, 16)
    };
    let mut sampler = chain(11);
    let first = draw(&mut sampler);
    assert_eq!(draw(&mut chain(11)), first);
    assert_ne!(draw(&mut chain(12)), first);

    let mut clone = sampler.clone();
    let mut restored = chain(99);
    restored.restore_state(sampler.state());
    first.iter().for_each(|token| restored.accept(*token));
    let second = draw(&mut sampler);
    assert_eq!(draw(&mut clone), second);
    assert_eq!(draw(&mut restored), second);

    sampler.reset();
    assert_eq!(draw(&mut sampler), first);
}

/// The promise that a seed gives the same tokens on every platform: these must never change.
#[test]
fn tokens_of_a_seed_are_pinned() {
    let logits: Vec<f32> = (0..64).map(|i| ((i * 29) % 64) as f32 * 0.1).collect();
    let mut sampler = Sampler::new(42).top_k(40).top_p(0.95).temperature(0.8);
    let tokens: Vec<u32> = (0..8).map(|_| sampler.sample(&logits).unwrap()).collect();
    assert_eq!(tokens, PINNED);
}
const PINNED: [u32; 8] = [57, 55, 39, 4, 55, 46, 11, 48];

#[test]
fn nothing_is_allocated_after_the_first_token() {
    let logits: Vec<f32> = (0..130_000)
        .map(|i| ((i * 7919) % 99_991) as f32 * 1e-4)
        .collect();
    for mut sampler in [
        Sampler::greedy(),
        Sampler::new(1).top_k(40).top_p(0.9),
        Sampler::new(1).top_p(0.9).logit_bias(3, 1.0),
        Sampler::new(1).typical(0.9).min_p(0.02),
        Sampler::new(1).top_k(40).repetition_penalty(1.1, 32),
    ] {
        let mut step = || {
            let token = sampler.sample(&logits).unwrap();
            sampler.accept(token);
        };
        step();
        step();
        let before = allocations();
        (0..5).for_each(|_| step());
        assert_eq!(allocations(), before);
    }
}

/// Counts the allocations of each thread, so that tests running beside do not disturb.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

fn allocations() -> usize {
    ALLOCATIONS.get()
}

#[allow(unsafe_code)]
// SAFETY: every call is passed on unchanged to the system's allocator; counting does not allocate,
// because the cell is const-initialized and needs no destructor.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises about `layout` are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: `pointer` came from `System.alloc` with this layout, as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
