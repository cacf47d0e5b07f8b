//! What a few measurements of the same thing say: their median and how far they spread.
//!
//! A shared machine takes time away in bursts, so a mean says more about the bursts than about the
//! program. The middle half is what people are shown; scripts get everything.

use serde_json::json;

use crate::text::number;

/// Measurements of the same thing, in the order in which they were made.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    /// Adds one.
    pub fn push(&mut self, value: f64) {
        self.0.push(value);
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

    /// The value that a `share` of them lies below: between two of them in proportion, so that
    /// those of 0, 1/2 and 1 are the lowest, the median and the highest (definition 7 of Hyndman
    /// and Fan, "Sample Quantiles in Statistical Packages", 1996). 0 of none.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = share * sorted.len().saturating_sub(1) as f64;
        let (below, above) = (place.floor() as usize, place.ceil() as usize);
        match (sorted.get(below), sorted.get(above)) {
            (Some(a), Some(b)) => a + (b - a) * place.fract(),
            _ => 0.0,
        }
    }

    /// The middle one, or halfway between the two in the middle.
    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// What `of` makes of the measurements that were made together.
    pub fn with(&self, others: &Samples, of: impl Fn(f64, f64) -> f64) -> Samples {
        let pairs = self.0.iter().zip(&others.0);
        Samples(pairs.map(|(a, b)| of(*a, *b)).collect())
    }

    /// Quotients of the measurements that were made one after the other. Their median is not the
    /// quotient of the medians: what slows both of a pair does not change its quotient.
    pub fn ratios(&self, by: &Samples) -> Samples {
        self.with(by, |a, b| a / b)
    }

    /// The same in another unit.
    pub fn scaled(&self, factor: f64) -> Samples {
        Samples(self.0.iter().map(|value| value * factor).collect())
    }

    /// The median, and between which values the middle half lies.
    pub fn text(&self) -> String {
        self.text_by(number)
    }

    /// As [`Samples::text`], with each number written by `write`.
    pub fn text_by(&self, write: impl Fn(f64) -> String) -> String {
        let [low, middle, high] = [0.25, 0.5, 0.75].map(|share| write(self.quantile(share)));
        format!("{middle} ({low}–{high})")
    }

    /// For scripts.
    pub fn json(&self) -> serde_json::Value {
        json!({
            "median": self.median(),
            "quartiles": [self.quantile(0.25), self.quantile(0.75)],
            "lowest": self.quantile(0.0),
            "highest": self.quantile(1.0),
            "mean": self.mean(),
            "deviation": self.deviation(),
            "runs": self.0,
        })
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Samples {
        Samples(values.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples<const N: usize>(values: [f64; N]) -> Samples {
        values.into_iter().collect()
    }

    #[test]
    fn mean_and_deviation_by_hand() {
        // Squares of -2, 0 and 2 over two degrees of freedom.
        let three = samples([2.0, 4.0, 6.0]);
        assert_eq!((three.mean(), three.deviation()), (4.0, 2.0));
        let one = samples([2.0]);
        assert_eq!((one.mean(), one.deviation()), (2.0, 0.0));
        let none = samples([]);
        assert_eq!((none.mean(), none.deviation()), (0.0, 0.0));
    }

    #[test]
    fn quantiles_by_hand() {
        // Four values have three gaps: a quarter of the way is 3/4 into the first.
        let four = samples([30.0, 10.0, 40.0, 20.0]);
        assert_eq!(four.quantile(0.25), 17.5);
        assert_eq!(four.median(), 25.0);
        assert_eq!(four.quantile(0.75), 32.5);
        assert_eq!((four.quantile(0.0), four.quantile(1.0)), (10.0, 40.0));
        assert_eq!(four.text_by(|value| format!("{value}")), "25 (17.5–32.5)");
        // Five have four: every quarter is one of them, and one that is far off moves none.
        let five = samples([3.0, 1.0, 1000.0, 2.0, 4.0]);
        assert_eq!(
            [0.25, 0.5, 0.75].map(|share| five.quantile(share)),
            [2.0, 3.0, 4.0]
        );
        assert_eq!(five.text(), "3.00 (2.00–4.00)");
        assert_eq!(samples([7.0]).text(), "7.00 (7.00–7.00)");
        assert_eq!(samples([]).median(), 0.0);
    }

    #[test]
    fn ratios_are_of_pairs() {
        // Both halve in the second pair: medians of 15 and 7.5 would hide that the first is twice
        // as fast in one pair and three times in another.
        let (a, b) = (samples([20.0, 10.0, 30.0]), samples([10.0, 5.0, 10.0]));
        let ratios = a.ratios(&b);
        assert_eq!(ratios.json()["runs"], json!([2.0, 2.0, 3.0]));
        assert_eq!(ratios.median(), 2.0);
        assert_eq!(ratios.quantile(0.75), 2.5);
        assert_eq!(a.scaled(0.5).median(), 10.0);
    }

    #[test]
    fn scripts_get_everything() {
        let json = samples([1.0, 3.0]).json();
        for (key, value) in [
            ("median", json!(2.0)),
            ("quartiles", json!([1.5, 2.5])),
            ("lowest", json!(1.0)),
            ("highest", json!(3.0)),
            ("mean", json!(2.0)),
            ("deviation", json!(2f64.sqrt())),
            ("runs", json!([1.0, 3.0])),
        ] {
            assert_eq!(json[key], value, "{key}");
        }
    }
}
