//! Whole codes from zero up, with a minimum: `x ≈ scale × q + minimum`.

use super::super::{Half, SUPER};
use super::levels::reciprocal;
use super::{TINY, round};

/// A scale and what code 0 stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) scale: f32,
    pub(crate) minimum: f32,
}

/// Sums of a group's weights and codes.
#[derive(Clone, Copy, Default)]
struct Sums {
    w: f32,
    x: f32,
    xx: f32,
    q: f32,
    qq: f32,
    xq: f32,
}

impl Line {
    /// The code of weight `x`: 0 to `highest`.
    fn code(self, inverse: f32, highest: f32, x: f32) -> f32 {
        round(((x - self.minimum) * inverse).clamp(0.0, highest))
    }

    /// Writes the nearest codes to `out`.
    pub(crate) fn quantize(self, x: &[f32], highest: f32, out: &mut [u8]) {
        let inverse = reciprocal(self.scale);
        for (out, &x) in out.iter_mut().zip(x) {
            *out = self.code(inverse, highest, x) as u8;
        }
    }

    /// The sums of `x`, a multiple of 8 long, with its nearest codes on this line.
    fn sums(self, x: &[f32], w: &[f32], highest: f32) -> Sums {
        let inverse = reciprocal(self.scale);
        let mut lanes = [[0.0f32; 8]; 6];
        for (x, w) in x.as_chunks::<8>().0.iter().zip(w.as_chunks::<8>().0) {
            for i in 0..8 {
                let q = self.code(inverse, highest, x[i]);
                let (wx, wq) = (w[i] * x[i], w[i] * q);
                lanes[0][i] += w[i];
                lanes[1][i] += wx;
                lanes[2][i] += wx * x[i];
                lanes[3][i] += wq;
                lanes[4][i] += wq * q;
                lanes[5][i] += wx * q;
            }
        }
        let [w, x, xx, q, qq, xq] = lanes.map(|lanes| lanes.iter().sum());
        Sums {
            w,
            x,
            xx,
            q,
            qq,
            xq,
        }
    }
}

impl Sums {
    /// The best line for these codes with a minimum of at most `ceiling`.
    fn best_line(&self, ceiling: f32) -> Line {
        let determinant = self.w * self.qq - self.q * self.q;
        // With one code for all weights only the minimum is determined.
        let scale = if determinant > 1e-6 * self.w * self.qq {
            (self.w * self.xq - self.x * self.q) / determinant
        } else {
            0.0
        };
        let minimum = (self.x - scale * self.q) / self.w;
        if minimum > ceiling {
            let scale = if self.qq > 0.0 {
                (self.xq - ceiling * self.q) / self.qq
            } else {
                0.0
            };
            return Line {
                scale: scale.max(0.0),
                minimum: ceiling,
            };
        }
        Line {
            scale: scale.max(0.0),
            minimum,
        }
    }

    /// `Σ w (scale × q + minimum − x)²`.
    fn error(&self, line: Line) -> f32 {
        let Line { scale, minimum } = line;
        self.xx
            + scale * (scale * self.qq - 2.0 * self.xq)
            + minimum * (minimum * self.w - 2.0 * self.x + 2.0 * scale * self.q)
    }
}

/// The line on which codes up to `highest` approximate `x` best, with a minimum of at most
/// `ceiling`.
pub(crate) fn line(x: &[f32], w: &[f32], highest: f32, ceiling: f32) -> Line {
    let (least, most) = x.iter().fold((f32::MAX, f32::MIN), |(least, most), &x| {
        (least.min(x), most.max(x))
    });
    let minimum = least.min(ceiling);
    let range = most - minimum;
    let mut best = Line {
        scale: 0.0,
        minimum,
    };
    if range < TINY {
        return best;
    }
    let mut best_error = best.sums(x, w, highest).error(best);
    // The range is cut into 0.55 to 1.25 times the number of codes, once from its least weight on
    // and once around its middle; what then lies outside is clipped. The factor 1 meets weights
    // that already lie on a line.
    for twentieths in 11..=25 {
        let scale = range / (highest * (twentieths as f32 / 20.0));
        let centred = (minimum + 0.5 * (range - scale * highest)).min(ceiling);
        for minimum in [minimum, centred] {
            let mut line = Line { scale, minimum };
            let mut line_error = f32::INFINITY;
            for _ in 0..4 {
                let sums = line.sums(x, w, highest);
                line = sums.best_line(ceiling);
                let error = sums.error(line);
                if error >= line_error {
                    break;
                }
                line_error = error;
                if error < best_error {
                    (best, best_error) = (line, error);
                }
            }
        }
    }
    best
}

/// The lines of the groups of a super-block: `scale × scales[g] × q − offset_scale × offsets[g]`.
pub(crate) struct Groups<const GROUPS: usize> {
    pub(crate) scale: Half,
    pub(crate) offset_scale: Half,
    pub(crate) scales: [u8; GROUPS],
    pub(crate) offsets: [u8; GROUPS],
}

impl<const GROUPS: usize> Groups<GROUPS> {
    /// The line of group `g`, exactly as decoders compute it.
    pub(crate) fn line(&self, g: usize) -> Line {
        Line {
            scale: self.scale.to_f32() * f32::from(self.scales[g]),
            minimum: -(self.offset_scale.to_f32() * f32::from(self.offsets[g])),
        }
    }

    /// The codes of the 256 weights.
    pub(crate) fn codes(&self, x: &[f32], highest: f32) -> [u8; SUPER] {
        let length = SUPER / GROUPS;
        let mut codes = [0; SUPER];
        for (g, codes) in codes.chunks_exact_mut(length).enumerate() {
            self.line(g)
                .quantize(&x[g * length..][..length], highest, codes);
        }
        codes
    }

    /// Lines for the equal groups of 256 weights, with codes up to `highest` and group scales and
    /// offsets up to `limit`.
    pub(crate) fn search(x: &[f32], w: &[f32], highest: f32, limit: f32) -> Groups<GROUPS> {
        let length = SUPER / GROUPS;
        let group = |g: usize| (&x[g * length..][..length], &w[g * length..][..length]);
        let lines: [Line; GROUPS] = std::array::from_fn(|g| {
            let (x, w) = group(g);
            line(x, w, highest, 0.0)
        });
        let most = |value: fn(&Line) -> f32| lines.iter().map(value).fold(0.0, f32::max);
        let mut scale = most(|line| line.scale) / limit;
        let mut offset_scale = most(|line| -line.minimum) / limit;
        let mut best = None;
        // Each round chooses whole numbers for the groups, then the two scales that fit them.
        for _ in 0..3 {
            let mut groups = Groups {
                scale: Half::scale(scale),
                offset_scale: Half::scale(offset_scale),
                scales: [0; GROUPS],
                offsets: [0; GROUPS],
            };
            let (mut error, mut normal) = (0.0, Normal::default());
            for (g, line) in lines.iter().enumerate() {
                let (x, w) = group(g);
                let (sums, group_error) = groups.choose(g, *line, limit, |line| {
                    let sums = line.sums(x, w, highest);
                    (sums, sums.error(line))
                });
                error += group_error;
                normal.add(
                    f32::from(groups.scales[g]),
                    f32::from(groups.offsets[g]),
                    &sums,
                );
            }
            (scale, offset_scale) = normal.solve();
            if best.as_ref().is_none_or(|(least, _)| error < *least) {
                best = Some((error, groups));
            }
        }
        match best {
            Some((_, groups)) => groups,
            // Not reached: the first round always stores its groups.
            None => Groups {
                scale: Half::ZERO,
                offset_scale: Half::ZERO,
                scales: [0; GROUPS],
                offsets: [0; GROUPS],
            },
        }
    }

    /// Sets the scale and offset of group `g` to the whole numbers near `target` that have the
    /// least error, and returns their sums and error.
    fn choose(
        &mut self,
        g: usize,
        target: Line,
        limit: f32,
        try_line: impl Fn(Line) -> (Sums, f32),
    ) -> (Sums, f32) {
        let near = |value: f32, unit: Half| {
            let middle = round((value * reciprocal(unit.to_f32())).clamp(0.0, limit)) as u8;
            middle.saturating_sub(1)..=(middle + 1).min(limit as u8)
        };
        let mut best = (0, 0, Sums::default(), f32::INFINITY);
        for scale in near(target.scale, self.scale) {
            for offset in near(-target.minimum, self.offset_scale) {
                (self.scales[g], self.offsets[g]) = (scale, offset);
                let (sums, error) = try_line(self.line(g));
                if error < best.3 {
                    best = (scale, offset, sums, error);
                }
            }
        }
        (self.scales[g], self.offsets[g]) = (best.0, best.1);
        (best.2, best.3)
    }
}

/// The normal equations of the two scales of a super-block, given everything else.
#[derive(Default)]
struct Normal {
    scale_scale: f64,
    scale_offset: f64,
    offset_offset: f64,
    scale_x: f64,
    offset_x: f64,
}

impl Normal {
    fn add(&mut self, scale: f32, offset: f32, sums: &Sums) {
        let (scale, offset) = (f64::from(scale), f64::from(offset));
        self.scale_scale += scale * scale * f64::from(sums.qq);
        self.scale_offset -= scale * offset * f64::from(sums.q);
        self.offset_offset += offset * offset * f64::from(sums.w);
        self.scale_x += scale * f64::from(sums.xq);
        self.offset_x -= offset * f64::from(sums.x);
    }

    fn solve(&self) -> (f32, f32) {
        let alone = |product: f64, square: f64| {
            if square > 0.0 {
                (product / square).max(0.0) as f32
            } else {
                0.0
            }
        };
        let determinant =
            self.scale_scale * self.offset_offset - self.scale_offset * self.scale_offset;
        if determinant > 1e-9 * self.scale_scale * self.offset_offset {
            let scale = self.scale_x * self.offset_offset - self.offset_x * self.scale_offset;
            let offset = self.offset_x * self.scale_scale - self.scale_x * self.scale_offset;
            if scale > 0.0 && offset > 0.0 {
                return ((scale / determinant) as f32, (offset / determinant) as f32);
            }
        }
        (
            alone(self.scale_x, self.scale_scale),
            alone(self.offset_x, self.offset_offset),
        )
    }
}
