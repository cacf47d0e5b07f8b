//! The codebook of IQ1_S and IQ1_M: levels −1, 0 and 1, all of them shifted by ±⅛.

use super::super::iq1_s::SHIFT;
use super::super::{Half, SUPER, grids};
use super::Fit;
use super::codebook::{self, Codebook, Group};
use super::steps::{Chosen, Steps};

static BOOK: Codebook<2048, 8, 3, 81> = Codebook::new(&grids::IQ1, &[-1, 0, 1]);

/// The levels shifted up, and shifted down.
const LEVELS: [[f32; 3]; 2] = [
    [-1.0 + SHIFT, SHIFT, 1.0 + SHIFT],
    [-1.0 - SHIFT, -SHIFT, 1.0 - SHIFT],
];

const STEPS: Steps = Steps {
    low: 0,
    high: 7,
    unit: 2.0,
    shift: 0.5,
};

/// The points of a super-block, their shifts, and the scales of its groups.
pub(crate) struct Points<const GROUPS: usize> {
    pub(crate) scale: Half,
    pub(crate) steps: [i16; GROUPS],
    pub(crate) points: [u16; SUPER / 8],
    /// Whether the point's shift is negative.
    pub(crate) minus: [bool; SUPER / 8],
}

/// The best points for 256 weights in `GROUPS` groups, where each `SHARE` points share a shift.
pub(crate) fn encode<const GROUPS: usize, const SHARE: usize>(
    x: &[f32],
    w: &[f32],
) -> Points<GROUPS> {
    let all = Group { x, w };
    let fit = |g: usize, scale: f32| {
        let group = all.part(g, SUPER / GROUPS);
        (0..SUPER / GROUPS / (8 * SHARE)).fold(Fit::default(), |fit, i| {
            fit.plus(shared::<SHARE>(group.part(i, 8 * SHARE), scale).fit)
        })
    };
    let targets = std::array::from_fn(|g| {
        let group = all.part(g, SUPER / GROUPS);
        // With three levels the best scale may leave the largest weight far outside.
        codebook::scale(group.x, (1.0, 1.0), (1.0, 3.5), |scale| fit(g, scale))
    });
    let Chosen { scale, steps } = STEPS.choose::<GROUPS>(targets, fit);
    let mut found = Points {
        scale,
        steps,
        points: [0; SUPER / 8],
        minus: [false; SUPER / 8],
    };
    for start in (0..SUPER / 8).step_by(SHARE) {
        let step = steps[start * 8 * GROUPS / SUPER];
        let scale = scale.to_f32() * STEPS.factor(step);
        let shared = shared::<SHARE>(all.part(start / SHARE, 8 * SHARE), scale);
        for i in 0..SHARE {
            found.points[start + i] = shared.points[i] as u16;
            found.minus[start + i] = shared.minus;
        }
    }
    found
}

/// Points that share a shift.
struct Shared<const SHARE: usize> {
    points: [usize; SHARE],
    minus: bool,
    fit: Fit,
}

/// The points nearest to `group` at `scale`, with the better shift.
fn shared<const SHARE: usize>(group: Group, scale: f32) -> Shared<SHARE> {
    let with = |levels: &[f32; 3]| {
        let mut error = 0.0;
        let points = std::array::from_fn(|i| {
            let (point, cost) = BOOK.nearest(group.part(i, 8), levels, scale);
            error += cost;
            point
        });
        (points, error)
    };
    let (plus, plus_error) = with(&LEVELS[0]);
    let (minus, minus_error) = with(&LEVELS[1]);
    let is_minus = minus_error < plus_error;
    let points: [usize; SHARE] = if is_minus { minus } else { plus };
    let levels = &LEVELS[usize::from(is_minus)];
    let fit = points
        .iter()
        .enumerate()
        .fold(Fit::default(), |fit, (i, &point)| {
            fit.plus(BOOK.sums(group.part(i, 8), levels, point))
        });
    Shared {
        points,
        minus: is_minus,
        fit,
    }
}
