//! Generating a token takes no memory: after the first, neither the forward pass, nor the sampler,
//! nor the text that streams out allocates anything.
//!
//! An allocator that counts what chosen threads ask for stands in for the system's.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::TinyLlama;
use yareta::gguf::TensorType;
use yareta::{Gguf, Model, ModelOptions, Sampler, Session, SessionOptions, Threads};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether this thread is one of those that compute: other tests may run beside.
    static COUNTED: Cell<bool> = const { Cell::new(false) };
}

fn count() {
    if COUNTED.get() {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    }
}

// SAFETY: every call is handed on as it is to the system's allocator, which keeps the contract.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as promised by the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as promised by the caller.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// How often memory was asked for in `work`, by this thread and its helpers.
fn allocations(work: impl FnOnce()) -> usize {
    COUNTED.set(true);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Models that take every way through a forward pass, with weights of every way through a product.
fn models() -> Vec<(&'static str, Vec<u8>)> {
    let wide = TinyLlama::wide;
    let models = [
        ("F32", wide(TensorType::F32)),
        ("Q4_0", wide(TensorType::Q4_0)),
        ("Q8_0", wide(TensorType::Q8_0)),
        ("Q4_K", wide(TensorType::Q4_K)),
        ("Q6_K", wide(TensorType::Q6_K)),
        ("IQ3_XXS", wide(TensorType::IQ3_XXS)),
        (
            "experts",
            TinyLlama {
                experts: Some((4, 2)),
                ..wide(TensorType::Q8_0)
            },
        ),
        (
            "biases",
            TinyLlama {
                attention_biases: true,
                tied: true,
                rope_factors: true,
                ..wide(TensorType::Q4_0)
            },
        ),
    ];
    models.map(|(name, tiny)| (name, tiny.bytes())).into()
}

fn session(file: &[u8], threads: usize) -> Session {
    let gguf = Gguf::from_bytes(file.to_vec()).unwrap();
    let threads = match threads {
        1 => Threads::new(1).unwrap(),
        count => {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .start_handler(|_| COUNTED.set(true));
            Threads::from_pool(Arc::new(pool.build().unwrap()))
        }
    };
    let options = ModelOptions::new().threads(threads);
    let model = Model::from_gguf_with(gguf, options).unwrap();
    let options = SessionOptions::new().context(600);
    model.session_with(&options).unwrap()
}

/// Goes through every stage; the token that ends a text is never drawn.
fn sampler() -> Sampler {
    Sampler::new(7)
        .repetition_penalty(1.1, 64)
        .frequency_penalty(0.1)
        .logit_bias(2, f32::NEG_INFINITY)
        .top_k(40)
        .typical(0.95)
        .top_p(0.95)
        .min_p(0.01)
        .temperature(0.8)
}

/// The last token of a prompt is the first whose logits are there.
const PROMPT: [u32; 3] = [1, 290, 20];

#[test]
fn tokens_after_the_first_take_no_memory() {
    let models = models();
    for (name, file) in &models {
        let mut session = session(file, 1);
        let mut sampler = sampler();
        let mut decoder = session.model().tokenizer().decoder();
        session.feed(&PROMPT).unwrap();
        let mut token = || {
            let token = sampler.sample(session.logits().unwrap()).unwrap();
            sampler.accept(token);
            session.feed(&[token]).unwrap();
            decoder.push(token).unwrap();
        };
        token();
        // Past the first chunk of positions, and past every window.
        let count = allocations(|| (0..400).for_each(|_| token()));
        assert_eq!(count, 0, "{name}, tokens");

        let prompt = [20; 100];
        session.feed(&prompt).unwrap();
        let count = allocations(|| drop(session.feed(&prompt).map(|_| ())));
        assert_eq!(count, 0, "{name}, a prompt");
    }

    // The pieces of a generation that are lent.
    let mut session = session(&models[2].1, 1);
    let mut sampler = sampler();
    let mut generation = session.generate(&PROMPT, &mut sampler).max_tokens(300);
    let mut length = generation.next_piece().unwrap().unwrap().len();
    let count = allocations(|| {
        // The end of the text is written where there is room.
        while generation.tokens().len() < 300 && generation.end().is_none() {
            length += generation.next_piece().unwrap().unwrap_or("").len();
        }
    });
    assert!(generation.tokens().len() > 100, "a generation ended early");
    assert_eq!(count, 0, "{length} bytes of text");

    // With helpers. One that has gone home, because the system let nobody run for a millisecond,
    // is called again, which takes a few bytes: so not every stretch of tokens, but most.
    for (name, file) in &models {
        let mut session = self::session(file, 2);
        session.feed(&PROMPT).unwrap();
        let stretch =
            || allocations(|| (0..8).for_each(|token| drop(session.feed(&[token]).map(|_| ()))));
        let counts: Vec<usize> = std::iter::repeat_with(stretch).take(20).collect();
        let without = counts.iter().filter(|count| **count == 0).count();
        assert!(without > 10, "{name}: {counts:?}");
    }
}
