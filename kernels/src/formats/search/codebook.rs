//! Codes that name a point of a codebook, several weights at once.
//!
//! The error of a point is a sum over its weights, so with a table of what each level would cost
//! at each place, the cost of a point is the sum of what its first and its second half cost. There
//! are few different halves (81 or 64). Points with the same second half have neighbouring
//! indices, and a second half that costs more than the best point so far need not be looked into.
//! The search is exact.

use super::super::grids::Grid;
use super::super::{Half, SUPER};
use super::steps::{Chosen, Steps};
use super::{Fit, TINY, best_scale, extreme};

/// A codebook prepared for search. `HALVES` is the number of different halves of points,
/// `LEVELS^(WEIGHTS / 2)`.
pub(crate) struct Codebook<
    const POINTS: usize,
    const WEIGHTS: usize,
    const LEVELS: usize,
    const HALVES: usize,
> {
    /// The first half of each point, as a number in base `LEVELS`.
    first: [u8; POINTS],
    /// Where the points of each second half end.
    ends: [u16; HALVES],
    /// The level at each place of each point.
    digits: [[u8; WEIGHTS]; POINTS],
}

/// A group of weights to be encoded, with their importances.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) w: &'a [f32],
}

impl<'a> Group<'a> {
    /// Group number `g` of groups of `length` weights.
    pub(crate) fn part(self, g: usize, length: usize) -> Group<'a> {
        Group {
            x: &self.x[g * length..][..length],
            w: &self.w[g * length..][..length],
        }
    }
}

impl<const POINTS: usize, const WEIGHTS: usize, const LEVELS: usize, const HALVES: usize>
    Codebook<POINTS, WEIGHTS, LEVELS, HALVES>
{
    /// Prepares `grid`, whose weights are of `levels`.
    pub(crate) const fn new(grid: &Grid<POINTS, WEIGHTS>, levels: &[i8; LEVELS]) -> Self {
        let mut book = Codebook {
            first: [0; POINTS],
            ends: [0; HALVES],
            digits: [[0; WEIGHTS]; POINTS],
        };
        let mut point = 0;
        while point < POINTS {
            let mut rank = 0;
            let mut place = WEIGHTS;
            while place > 0 {
                place -= 1;
                let mut digit = 0;
                while levels[digit] != grid[point][place] {
                    digit += 1;
                }
                book.digits[point][place] = digit as u8;
                rank = rank * LEVELS + digit;
            }
            book.first[point] = (rank % HALVES) as u8;
            book.ends[rank / HALVES] = point as u16 + 1;
            point += 1;
        }
        // A second half without points ends where the one before it does.
        let mut half = 1;
        while half < HALVES {
            if book.ends[half] == 0 {
                book.ends[half] = book.ends[half - 1];
            }
            half += 1;
        }
        book
    }

    /// The point nearest to the weights of `group` if its levels are `scale` times `levels`, and
    /// its error.
    pub(crate) fn nearest(&self, group: Group, levels: &[f32; LEVELS], scale: f32) -> (usize, f32) {
        let costs: [[f32; LEVELS]; WEIGHTS] = std::array::from_fn(|i| {
            let (x, w) = (group.x[i], group.w[i]);
            levels.map(|level| {
                let error = x - scale * level;
                w * error * error
            })
        });
        let first: [f32; HALVES] = half_costs(&costs[..WEIGHTS / 2]);
        let second: [f32; HALVES] = half_costs(&costs[WEIGHTS / 2..]);
        let least_first = first.iter().copied().fold(f32::INFINITY, f32::min);
        let mut best = (0, f32::INFINITY);
        let look_into = |half: usize, best: &mut (usize, f32)| {
            let start = if half == 0 { 0 } else { self.ends[half - 1] };
            for point in usize::from(start)..usize::from(self.ends[half]) {
                let cost = first[usize::from(self.first[point])] + second[half];
                if cost < best.1 {
                    *best = (point, cost);
                }
            }
        };
        // A good point early leaves less to look into.
        let promising = (1..HALVES).fold(0, |a, b| if second[b] < second[a] { b } else { a });
        look_into(promising, &mut best);
        for (half, cost) in second.iter().enumerate() {
            if cost + least_first < best.1 {
                look_into(half, &mut best);
            }
        }
        best
    }

    /// The sums of the weights of `group` with the point of index `point`.
    pub(crate) fn sums(&self, group: Group, levels: &[f32; LEVELS], point: usize) -> Fit {
        let mut fit = Fit::default();
        for (i, &digit) in self.digits[point].iter().enumerate() {
            let q = levels[usize::from(digit)];
            let wq = group.w[i] * q;
            fit.xq += wq * group.x[i];
            fit.qq += wq * q;
        }
        fit
    }

    /// The sums of `group`, several points long, with its nearest points at `scale`.
    pub(crate) fn fit(&self, group: Group, levels: &[f32; LEVELS], scale: f32) -> Fit {
        (0..group.x.len() / WEIGHTS).fold(Fit::default(), |fit, p| {
            let part = group.part(p, WEIGHTS);
            let (point, _) = self.nearest(part, levels, scale);
            fit.plus(self.sums(part, levels, point))
        })
    }
}

/// What every half of a point costs, from what every level costs at each of its places.
fn half_costs<const LEVELS: usize, const HALVES: usize>(costs: &[[f32; LEVELS]]) -> [f32; HALVES] {
    let mut sums = [0.0; HALVES];
    let mut filled = 1;
    for costs in costs {
        for digit in (0..LEVELS).rev() {
            for low in 0..filled {
                sums[digit * filled + low] = sums[low] + costs[digit];
            }
        }
        filled *= LEVELS;
    }
    sums
}

/// How a format with codebook points and stepped scales is encoded.
pub(crate) struct PointFormat<
    const POINTS: usize,
    const WEIGHTS: usize,
    const LEVELS: usize,
    const HALVES: usize,
> {
    /// The codebook.
    book: Codebook<POINTS, WEIGHTS, LEVELS, HALVES>,
    /// Its levels, least first.
    levels: [f32; LEVELS],
    /// The scales of groups.
    steps: Steps,
    /// A group's largest weight is tried between these times the largest level.
    range: (f32, f32),
}

/// The points of a super-block, and the scales of its groups.
pub(crate) struct Points<const GROUPS: usize, const COUNT: usize> {
    pub(crate) scale: Half,
    pub(crate) steps: [i16; GROUPS],
    pub(crate) points: [u16; COUNT],
}

impl<const POINTS: usize, const WEIGHTS: usize, const LEVELS: usize, const HALVES: usize>
    PointFormat<POINTS, WEIGHTS, LEVELS, HALVES>
{
    /// Points of `grid`, which has `levels`, with group scales `unit × (step + ½)`, steps 0 to
    /// 15; `range` as the field.
    pub(crate) const fn new(
        grid: &Grid<POINTS, WEIGHTS>,
        levels: &[i8; LEVELS],
        unit: f32,
        range: (f32, f32),
    ) -> Self {
        let mut floats = [0.0; LEVELS];
        let mut level = 0;
        while level < LEVELS {
            floats[level] = levels[level] as f32;
            level += 1;
        }
        PointFormat {
            book: Codebook::new(grid, levels),
            levels: floats,
            steps: Steps {
                low: 0,
                high: 15,
                unit,
                shift: 0.5,
            },
            range,
        }
    }

    /// The best `COUNT` points for 256 weights `x` with importances `w`, in `GROUPS` groups.
    pub(crate) fn encode<const GROUPS: usize, const COUNT: usize>(
        &self,
        x: &[f32],
        w: &[f32],
    ) -> Points<GROUPS, COUNT> {
        let all = Group { x, w };
        let fit = |g: usize, scale: f32| {
            let group = all.part(g, SUPER / GROUPS);
            self.book.fit(group, &self.levels, scale)
        };
        let targets = std::array::from_fn(|g| {
            let group = all.part(g, SUPER / GROUPS);
            scale(
                group.x,
                (self.levels[0], self.levels[LEVELS - 1]),
                self.range,
                |scale| fit(g, scale),
            )
        });
        let Chosen { scale, steps } = self.steps.choose::<GROUPS>(targets, fit);
        let points = std::array::from_fn(|p| {
            let scale = scale.to_f32() * self.steps.factor(steps[p * GROUPS / COUNT]);
            let (point, _) = self.book.nearest(all.part(p, WEIGHTS), &self.levels, scale);
            point as u16
        });
        Points {
            scale,
            steps,
            points,
        }
    }
}

/// The scale at which `fit` approximates `x` best, where the largest weight is between `from` and
/// `to` times the largest level, or equals the least: the latter suits weights that are all alike.
pub(crate) fn scale(
    x: &[f32],
    (least, largest): (f32, f32),
    (from, to): (f32, f32),
    fit: impl FnMut(f32) -> Fit,
) -> f32 {
    const CANDIDATES: u8 = 12;
    let most = extreme(x).abs();
    if most < TINY {
        return 0.0;
    }
    let candidates = (0..CANDIDATES).map(|j| {
        let part = f32::from(j) / f32::from(CANDIDATES - 1);
        most / (largest * (from + part * (to - from)))
    });
    best_scale(candidates.chain([most / least]), fit)
}
