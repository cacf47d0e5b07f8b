//! Speed of attention by depth, each figure beside the limit of the machine measured in the same
//! moments: generation in bytes of the cache per second beside the rate at which the same threads
//! read memory, prompts in multiply-adds per second beside the float peak of the same threads.
//!
//! ```text
//! cargo bench -p yareta-kernels --bench attention                       # everything
//! cargo bench -p yareta-kernels --bench attention -- prompt avx512 f16  # lines with these words
//! ```
//!
//! The words of a line are `generation` or `prompt`, the instruction set, the type of the cache,
//! `heads-kv_heads-dim`, `depth+tokens`, and `1t` or `2t` for one or two threads. Only the best
//! instruction set is measured unless another is named.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use yareta_kernels::{
    Attention, AttentionInputs, AttentionScratch, Cpu, Isa, KvLayer, KvShape, KvType, limits,
};

/// Bytes of the caches that generation goes through in turn, as through the layers of a model:
/// several times what a processor caches.
const MEMORY: usize = 192 << 20;

/// Rounds of work and limit in turn; the best of each counts.
const ROUNDS: usize = 7;

/// Least time of the work of a round.
const ROUND: Duration = Duration::from_millis(40);

/// Query heads, heads of keys and values, and elements of a head: the shapes of TinyLlama 1.1B,
/// Llama 3 8B and Llama 2 7B.
const HEADS: [(usize, usize, usize); 3] = [(32, 4, 64), (32, 8, 128), (32, 32, 128)];

const KINDS: [(KvType, &str); 3] = [
    (KvType::F16, "f16"),
    (KvType::Q16, "q16"),
    (KvType::Q8_0, "q8_0"),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let words: Vec<&str> = words.into_iter().filter(|w| !w.starts_with("--")).collect();
    let isas: Vec<Isa> = words.iter().filter_map(|word| word.parse().ok()).collect();
    for cpu in Cpu::all() {
        let wanted = match isas.is_empty() {
            true => cpu == Cpu::detect(),
            false => isas.contains(&cpu.isa()),
        };
        if !wanted {
            continue;
        }
        for (what, cases) in [
            ("generation", &[(1024, 1), (4096, 1), (16384, 1)][..]),
            ("prompt", &[(0, 512), (3584, 512), (7680, 512)][..]),
        ] {
            for heads in HEADS {
                for (kind, kind_name) in KINDS {
                    for &(depth, tokens) in cases {
                        for threads in [1, 2] {
                            let name = format!(
                                "{what} {} {kind_name} {}-{}-{} {depth}+{tokens} {threads}t",
                                cpu.isa(),
                                heads.0,
                                heads.1,
                                heads.2,
                            );
                            let all = || name.split(' ');
                            if words.iter().all(|word| all().any(|part| part == *word)) {
                                let case = Case {
                                    cpu,
                                    kind,
                                    heads,
                                    depth,
                                    tokens,
                                    threads,
                                };
                                println!("{name:48} {}", case.measure());
                            }
                        }
                    }
                }
            }
        }
    }
}

struct Case {
    cpu: Cpu,
    kind: KvType,
    heads: (usize, usize, usize),
    depth: usize,
    tokens: usize,
    threads: usize,
}

impl Case {
    fn measure(&self) -> String {
        let (heads, kv_heads, dim) = self.heads;
        let shape = KvShape {
            kind: self.kind,
            kv_heads,
            capacity: self.depth + self.tokens,
            key_dim: dim,
            value_dim: dim,
        };
        let bytes = shape.bytes().expect("a shape that can be");
        let generates = self.tokens == 1;
        let layers = if generates { MEMORY.div_ceil(bytes) } else { 1 };
        let layers: Vec<KvLayer> = (0..layers).map(|_| self.fill(shape)).collect();
        let queries = noise(self.tokens * heads * dim, 3);
        let mut outs = vec![vec![0.0; queries.len()]; layers.len()];
        let mut scratches: Vec<AttentionScratch> = Vec::new();
        scratches.resize_with(layers.len(), || {
            AttentionScratch::new(self.threads, heads, &shape).expect("memory")
        });
        let memory = vec![1u8; if generates { MEMORY } else { 0 }];

        let (mut best_work, mut best_limit) = (0.0_f64, 0.0_f64);
        for _ in 0..ROUNDS {
            let mut work = Duration::ZERO;
            let mut done = 0;
            while work < ROUND {
                let scratches = scratches.iter_mut().zip(&mut outs);
                let jobs: Vec<Attention<'_>> = layers
                    .iter()
                    .zip(scratches)
                    .map(|(cache, (scratch, out))| {
                        let inputs = AttentionInputs {
                            queries: &queries,
                            heads,
                            cache,
                            first_position: self.depth,
                            scale: 1.0 / (dim as f32).sqrt(),
                            window: None,
                            soft_cap: None,
                            sinks: None,
                            slopes: None,
                        };
                        Attention::new(self.cpu, inputs, scratch, out)
                    })
                    .collect();
                // All threads finish an operation before the next begins, as in a forward pass.
                work += self.timed(|gate| {
                    for job in &jobs {
                        job.work();
                        gate.pass();
                    }
                });
                done += layers.len();
            }
            let amount = if generates {
                bytes
            } else {
                let seen = self.tokens * self.depth + self.tokens * (self.tokens + 1) / 2;
                seen * heads * 2 * dim
            };
            best_work = best_work.max((done * amount) as f64 / work.as_secs_f64());
            let (amount, time) = if generates {
                let share = memory.len() / self.threads;
                let time = self.timed(|gate| {
                    let number = gate.number();
                    std::hint::black_box(limits::read(&memory[number * share..][..share]));
                });
                (share * self.threads, time)
            } else {
                let products = limits::float_products(self.cpu, 1) as usize;
                let rounds = 20_000_000_000 / 10 / products / 4;
                let time = self.timed(|_| {
                    std::hint::black_box(limits::float_products(self.cpu, rounds));
                });
                (products * rounds * self.threads, time)
            };
            best_limit = best_limit.max(amount as f64 / time.as_secs_f64());
        }
        let unit = if generates { "GB/s" } else { "G/s" };
        let share = best_work / best_limit * 100.0;
        format!(
            "{:7.1} of {:6.1} {unit:4} {share:5.1} %",
            best_work / 1e9,
            best_limit / 1e9
        )
    }

    /// The cache filled with tokens.
    fn fill(&self, shape: KvShape) -> KvLayer {
        let mut layer = KvLayer::new(shape).expect("memory");
        let row = self.heads.1 * self.heads.2;
        let some = noise(17 * row, 1);
        for position in 0..shape.capacity {
            let row = &some[position % 17 * row..][..row];
            layer.store(self.cpu, position, row, row);
        }
        layer
    }

    /// The time in which all threads have done `work`.
    fn timed(&self, work: impl Fn(&Gate) + Sync) -> Duration {
        let gate = Gate {
            threads: self.threads,
            passed: AtomicUsize::new(0),
            numbers: AtomicUsize::new(0),
        };
        std::thread::scope(|scope| {
            for _ in 1..self.threads {
                scope.spawn(|| {
                    gate.pass();
                    work(&gate);
                    gate.pass();
                });
            }
            gate.pass();
            let start = Instant::now();
            work(&gate);
            gate.pass();
            start.elapsed()
        })
    }
}

/// Where threads wait for each other.
struct Gate {
    threads: usize,
    passed: AtomicUsize,
    numbers: AtomicUsize,
}

impl Gate {
    /// Returns when all threads have called it as often as this one.
    fn pass(&self) {
        let before = self.passed.fetch_add(1, Ordering::AcqRel);
        let all = before / self.threads * self.threads + self.threads;
        while self.passed.load(Ordering::Acquire) < all {
            std::hint::spin_loop();
        }
    }

    /// Another number for each caller, from 0 on.
    fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }
}

/// Values of both signs with a deterministic, irregular pattern, about -1 to 1.
fn noise(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}
