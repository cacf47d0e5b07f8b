//! Mean and deviation of a few measurements.

use serde_json::json;

use crate::text::number;

/// Measurements of the same thing.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Their mean; 0 of none.
    pub fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len().max(1) as f64
    }

    /// Their standard deviation, estimated from a sample; 0 of one.
    pub fn deviation(&self) -> f64 {
        let mean = self.mean();
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        match self.0.len() {
            0 | 1 => 0.0,
            count => (squares / (count - 1) as f64).sqrt(),
        }
    }

    /// Quotients of the measurements that were taken one after the other.
    pub fn ratios(&self, by: &Samples) -> Samples {
        let pairs = self.0.iter().zip(&by.0);
        Samples(pairs.map(|(a, b)| a / b).collect())
    }

    /// `mean ± deviation`.
    pub fn text(&self) -> String {
        format!("{} ± {}", number(self.mean()), number(self.deviation()))
    }

    /// For scripts.
    pub fn json(&self) -> serde_json::Value {
        json!({"mean": self.mean(), "deviation": self.deviation(), "runs": self.0})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_few_numbers() {
        let mut samples = Samples::default();
        assert_eq!((samples.mean(), samples.deviation()), (0.0, 0.0));
        samples.push(2.0);
        assert_eq!((samples.mean(), samples.deviation()), (2.0, 0.0));
        [4.0, 6.0].into_iter().for_each(|value| samples.push(value));
        // Squares of -2, 0 and 2 over two degrees of freedom.
        assert_eq!((samples.mean(), samples.deviation()), (4.0, 2.0));
        assert_eq!(samples.text(), "4.00 ± 2.00");
        let mut half = Samples::default();
        [4.0, 8.0, 12.0]
            .into_iter()
            .for_each(|value| half.push(value));
        assert_eq!(samples.ratios(&half).mean(), 0.5);
        assert_eq!(samples.ratios(&half).deviation(), 0.0);
    }
}
