//! The pseudo-random numbers of the draw.
//!
//! PCG-XSH-RR 64/32: M. E. O'Neill, *PCG: A Family of Simple Fast Space-Efficient Statistically
//! Good Algorithms for Random Number Generation*, HMC-CS-2014-0905.

const MULTIPLIER: u64 = 6_364_136_223_846_793_005;

/// The stream: any number does; part of the promise that a seed keeps giving the same text.
const STREAM: u64 = 721_347_520_444_481_703;

/// A generator whose whole state is one number.
#[derive(Clone, Debug)]
pub(super) struct Generator {
    state: u64,
    increment: u64, // odd
}

impl Generator {
    /// The generator that `seed` starts.
    pub(super) fn new(seed: u64) -> Generator {
        Generator::with_stream(seed, STREAM)
    }

    fn with_stream(seed: u64, stream: u64) -> Generator {
        let mut generator = Generator {
            state: 0,
            increment: (stream << 1) | 1,
        };
        generator.next();
        generator.state = generator.state.wrapping_add(seed);
        generator.next();
        generator
    }

    /// A number in 0..1, a multiple of 2^-53.
    pub(super) fn uniform(&mut self) -> f64 {
        let (high, low) = (self.next(), self.next());
        let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
        bits as f64 * (1.0 / (1u64 << 53) as f64)
    }

    pub(super) fn state(&self) -> u64 {
        self.state
    }

    /// Any number is a valid state.
    pub(super) fn restore(&mut self, state: u64) {
        self.state = state;
    }

    fn next(&mut self) -> u32 {
        let old = self.state;
        self.state = old.wrapping_mul(MULTIPLIER).wrapping_add(self.increment);
        let shifted = (((old >> 18) ^ old) >> 27) as u32;
        shifted.rotate_right((old >> 59) as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The output that the generator's authors publish for seed 42, stream 54.
    #[test]
    fn gives_the_published_numbers() {
        let mut generator = Generator::with_stream(42, 54);
        let numbers: Vec<u32> = (0..6).map(|_| generator.next()).collect();
        assert_eq!(
            numbers,
            [
                0xa15c_02b7,
                0x7b47_f409,
                0xba1d_3330,
                0x83d2_f293,
                0xbfa4_784b,
                0xcbed_606e
            ]
        );
    }

    #[test]
    fn uniform_numbers_fill_the_interval() {
        let mut generator = Generator::new(1);
        let numbers: Vec<f64> = (0..100_000).map(|_| generator.uniform()).collect();
        assert!(numbers.iter().all(|number| (0.0..1.0).contains(number)));
        let mean = numbers.iter().sum::<f64>() / 1e5;
        // the standard deviation of the mean is sqrt(1/12/1e5) = 0.0009
        assert!((mean - 0.5).abs() < 0.004, "{mean}");
    }

    #[test]
    fn a_restored_state_goes_on() {
        let mut first = Generator::new(9);
        first.uniform();
        let mut second = Generator::new(10);
        second.restore(first.state());
        assert_eq!(first.uniform(), second.uniform());
    }
}
