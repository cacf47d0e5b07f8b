//! What this machine can do at most, measured just before and just after each run of a bench, so
//! that what other users of the machine take away is taken from both.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use yareta::{Cpu, limits};

use super::statistics::Samples;
use crate::failure::{Failure, Outcome};

/// The most bytes that all threads together read over and over. Of fewer, a large cache keeps a part
/// from one time to the next, as it does of a model of that size: 32 MB of cache make reading 256 MB
/// a tenth faster than reading a gigabyte.
const MOST_BYTES: usize = 1 << 30;

/// The fewest: reading the clock after each pass must take no time to speak of.
const LEAST_BYTES: usize = 64 << 10;

/// What a measurement of the rate of reading should take: long enough for what is taken away for
/// moments to hit it as it hits the runs.
const READING_TIME: Duration = Duration::from_millis(150);

/// The same for rates of products, which hardly move.
const PRODUCTS_TIME: Duration = Duration::from_millis(50);

/// Memory to read.
pub struct Machine {
    buffer: Vec<u8>,
}

/// With what a limit is to be measured: as the runs beside it.
#[derive(Clone, Copy, Debug)]
pub struct Means {
    pub cpu: Cpu,
    pub threads: usize,
    /// Bytes that all threads together read over and over. What fits a cache is read as fast as
    /// that cache gives it, and that is then the limit.
    pub bytes: f64,
}

impl Means {
    /// Bytes that each thread reads.
    fn bytes_each(&self) -> usize {
        let each = (self.bytes / self.threads as f64) as usize;
        each.clamp(LEAST_BYTES, (MOST_BYTES / self.threads).max(LEAST_BYTES))
    }
}

impl Machine {
    /// Takes the memory that measurements with `means` need.
    pub fn new(means: &[Means]) -> Outcome<Machine> {
        let needed = means.iter().map(|means| means.threads * means.bytes_each());
        let length = needed.max().unwrap_or(0);
        let mut buffer = Vec::new();
        buffer
            .try_reserve_exact(length)
            .map_err(|_| Failure::Error(format!("cannot reserve {length} bytes to read")))?;
        buffer.resize(length, 1);
        Ok(Machine { buffer })
    }

    /// Bytes per second of all threads, each reading its own bytes again and again.
    pub fn reading(&self, means: &Means) -> f64 {
        let each = means.bytes_each();
        let start = Instant::now();
        let passes: usize = thread::scope(|scope| {
            let read = |bytes| {
                let mut passes = 0;
                while start.elapsed() < READING_TIME {
                    black_box(limits::read(bytes));
                    passes += 1;
                }
                passes
            };
            let pieces = self.buffer.chunks_exact(each).take(means.threads);
            let helpers: Vec<_> = pieces
                .map(|bytes| scope.spawn(move || read(bytes)))
                .collect();
            let joined = helpers.into_iter().map(|helper| helper.join());
            joined.map(|passes| passes.unwrap_or(0)).sum()
        });
        (passes * each) as f64 / start.elapsed().as_secs_f64()
    }

    /// Products of all threads per second, added by `products` out of registers.
    fn arithmetic(&self, means: &Means, products: fn(Cpu, usize) -> u64) -> f64 {
        /// Takes well under a millisecond on any machine, and much longer than reading a clock.
        const FIRST: usize = 2000;
        let cpu = means.cpu;
        let start = Instant::now();
        black_box(products(cpu, FIRST));
        let first = start.elapsed().as_secs_f64().max(1e-6);
        let rounds = (PRODUCTS_TIME.as_secs_f64() / first * FIRST as f64) as usize;
        let start = Instant::now();
        let total: u64 = thread::scope(|scope| {
            let helpers: Vec<_> = (0..means.threads)
                .map(|_| scope.spawn(move || products(cpu, rounds)))
                .collect();
            let joined = helpers.into_iter().map(|helper| helper.join());
            joined.map(|products| products.unwrap_or(0)).sum()
        });
        total as f64 / start.elapsed().as_secs_f64()
    }

    /// Products added per second.
    pub fn products(&self, means: &Means) -> Products {
        Products {
            int8: self.arithmetic(means, limits::int8_products),
            float: self.arithmetic(means, limits::float_products),
            bf16: self.arithmetic(means, limits::bf16_products),
        }
    }
}

/// Numbers of products of each kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Products {
    /// Of 8-bit integers, as quantized weights are multiplied.
    pub int8: f64,
    /// Of floats.
    pub float: f64,
    /// Of bfloat16, which are those of floats where no instruction adds them in pairs.
    pub bf16: f64,
}

/// The limits beside each run: the mean of what was measured before and after it.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// Bytes read per second.
    pub reading: Samples,
    /// Products of 8-bit integers added per second.
    pub int8: Samples,
    /// Products of floats added per second.
    pub float: Samples,
    /// Products of bfloat16 added per second.
    pub bf16: Samples,
}
