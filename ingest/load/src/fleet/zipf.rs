//! Which card speaks next: a few talk a lot, most a little.

use rand::RngExt;
use rand::rngs::Xoshiro256PlusPlus;

/// Draws indices with Zipf's weights: the k-th of them with `1 / k^skew`.
#[derive(Clone, Debug)]
pub(super) struct Zipf {
    /// The sums of the weights up to each index.
    sums: Vec<f64>,
}

impl Zipf {
    pub(super) fn new(count: usize, skew: f64) -> Self {
        let weights = (1..=count).map(|rank| (rank as f64).powf(-skew));
        let sums = weights.scan(0.0, |sum, weight| {
            *sum += weight;
            Some(*sum)
        });
        Zipf { sums: sums.collect() }
    }

    pub(super) fn draw(&self, random: &mut Xoshiro256PlusPlus) -> usize {
        let total = self.sums.last().copied().unwrap_or(0.0);
        let point = random.random::<f64>() * total;
        self.sums.partition_point(|sum| *sum <= point).min(self.sums.len().saturating_sub(1))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn shares(skew: f64) -> Vec<f64> {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(1);
        let zipf = Zipf::new(4, skew);
        let mut counts = vec![0; 4];
        (0..100_000).for_each(|_| counts[zipf.draw(&mut random)] += 1);
        counts.into_iter().map(|count| f64::from(count) / 100_000.0).collect()
    }

    #[test]
    fn without_skew_all_are_equal_and_with_it_the_first_leads() {
        assert!(shares(0.0).iter().all(|share| (share - 0.25).abs() < 0.01));
        let skewed = shares(1.0);
        assert!((skewed[0] - 0.48).abs() < 0.01 && (skewed[3] - 0.12).abs() < 0.01, "{skewed:?}");
    }
}
